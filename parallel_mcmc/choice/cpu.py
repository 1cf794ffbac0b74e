"""The faster way on a CPU, where the plain loop is hard to beat."""

from __future__ import annotations

import jax

from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.choice import measure
from parallel_mcmc.choice.measure import LEAST_GAIN, TRIAL_SHARE
from parallel_mcmc.choice.outcome import Choice, choice_of
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Parallel, Sequential

SMALL_TRAFFIC = 16e6
"""Bytes that one evaluation of a step moves: below it a CPU has them in its caches, and a batch
of steps is not cheap enough to pay for several evaluations a draw."""

TYPICAL_EVALUATIONS = 3.0
"""Evaluations of the step for each draw, where the run is too short to measure them."""

TIMED_STEPS = 4
"""Steps of the plain loop that are timed."""

TRIAL_WINDOWS = 2
"""Windows that the trial of the parallel solver draws."""


def faster_on_cpu(
    parallel: Parallel, kernel: Kernel, states: PyTree, keys: jax.Array
) -> tuple[Parallel | Sequential, Choice]:
    """Look at what a step costs.

    A step that moves little memory is left to the plain loop, and nothing is timed. Else one step
    and a batch of a window's steps are timed, and, where the run is long enough, the parallel
    solver on two windows.
    """
    num_chains, num_samples = keys.shape[:2]
    state, keys = at(states, 0), keys[0]
    traffic = measure.step_traffic(kernel, state, keys[0])
    if traffic < SMALL_TRAFFIC:
        return choice_of(
            Sequential(),
            f"a step moves {traffic / 1e6:.2g} MB, which a CPU has in its caches "
            f"(the parallel solver is tried from {SMALL_TRAFFIC / 1e6:.0f} MB on)",
        )
    window = parallel.window
    one = measure.timed(measure.run_chain, Sequential(), kernel, state, keys[:TIMED_STEPS])[1]
    one /= len(keys[:TIMED_STEPS])
    batch = measure.timed(measure.evaluate_batch, kernel, state, keys[:window])[1] / window
    if one < LEAST_GAIN * batch:
        reason = "a step in a batch costs as much as one by itself"
        return choice_of(Sequential(), reason, one, batch)
    trial = TRIAL_WINDOWS * window
    if trial <= TRIAL_SHARE * num_chains * num_samples:
        solved = measure.timed(measure.run_chain, parallel, kernel, state, keys[:trial])[1] / trial
        how = f"as a trial of {trial} draws showed"
    else:
        solved = TYPICAL_EVALUATIONS * batch
        how = f"if it takes {TYPICAL_EVALUATIONS:.0f} evaluations of the step, too many to try"
    pays = solved * LEAST_GAIN < one
    return choice_of(
        parallel if pays else Sequential(),
        f"a draw takes {one * 1e3:.2g} ms by the plain loop and {solved * 1e3:.2g} ms in parallel, "
        f"{how}",
        one,
        solved,
    )
