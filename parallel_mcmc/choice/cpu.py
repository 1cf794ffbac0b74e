"""The faster way on a CPU, where the plain loop is hard to beat."""

from __future__ import annotations

import jax

from parallel_mcmc._tree import PyTree, at, num_steps
from parallel_mcmc.choice import measure
from parallel_mcmc.choice.lanes_or_loop import BATCH, TIMED_STEPS, lanes_or_loop
from parallel_mcmc.choice.measure import LEAST_GAIN, TRIAL_SHARE
from parallel_mcmc.choice.outcome import Choice, choice_of
from parallel_mcmc.choice.step_times import step_time
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import InLanes, Parallel, Runner, Sequential

SMALL_TRAFFIC = 16e6
"""Bytes that one evaluation of a step moves: below it a CPU has them in its caches, and a batch
of steps is not cheap enough to pay for several evaluations a draw."""

SHORT_RUN = 4000
"""Draws of a chain from which on any step is worth the compilation of a trial."""

SHORT_TRAFFIC = 1e9
"""Bytes that all steps of a run move from which on a run of fewer draws is worth it as well."""

TYPICAL_EVALUATIONS = 2.0
"""Evaluations of the step for each draw, where the run is too short to measure them: 1.9 and 2.1
were measured for regressions by HMC in the default window."""

TRIAL_WINDOWS = 2
"""Windows that the trial of the parallel solver draws."""


def faster_on_cpu(
    parallel: Parallel, kernel: Kernel, states: PyTree, keys: jax.Array
) -> tuple[Runner, Choice]:
    """See how soon chains with the same random numbers meet, and what their steps cost.

    Chains are begun around the first state and run side by side. Where they meet within a fraction
    of the run, shooting takes hardly more than one evaluation a draw, and is chosen if a batch of
    steps is cheaper than the loop. Else, where a step moves so much memory that a batch is cheap
    enough for several evaluations a draw, Newton's method is tried.

    A run of fewer than 4,000 draws of a small step that moves less than 1 GB in all is left to the
    loop: it is over before a trial is compiled.
    """
    num_chains, num_samples = keys.shape[:2]
    traffic = measure.step_traffic(kernel, at(states, 0), keys[0, 0])
    small = traffic < SMALL_TRAFFIC
    short = num_samples < SHORT_RUN and traffic * num_chains * num_samples < SHORT_TRAFFIC
    if small and short:
        reason = (
            f"a step moves {traffic / 1e6:.2g} MB, which a CPU has in its caches, and so few draws "
            "are over before a trial would be compiled"
        )
        return choice_of(Sequential(), reason)
    hindrance = _hindrance(kernel, states)
    if small and hindrance:
        return choice_of(Sequential(), hindrance)
    if not hindrance:
        chosen = lanes_or_loop(kernel, states, keys, traffic, small)
        if small or isinstance(chosen[0], InLanes):
            return chosen
        one = chosen[1].sequential_seconds
        assert one is not None
    else:
        steps = min(num_samples, TIMED_STEPS)
        taken = step_time(kernel, at(states, 0), keys[0, :steps], steps, num_chains, 1)
        one = taken.seconds / num_chains
    return _by_newton(parallel, kernel, at(states, 0), keys, one)


def _hindrance(kernel: Kernel, states: PyTree) -> str:
    """Return why the chains cannot be cut into lanes; nothing if they can."""
    num_chains = num_steps(states)
    if num_chains > BATCH // 2:
        return f"{num_chains} chains fill a batch"
    if kernel.bind(at(states, 0).position).scale is None:
        return "the scale of its states, by which chains that meet are told, is not known"
    return ""


def _by_newton(
    parallel: Parallel, kernel: Kernel, state: PyTree, keys: jax.Array, one: float
) -> tuple[Runner, Choice]:
    """Time a batch of a window's steps and, where the run is long enough, two windows."""
    num_chains, num_samples = keys.shape[:2]
    keys, window = keys[0], parallel.window
    # An iteration makes the steps of a stride one after the other, each in a batch.
    unknown = -(-window // parallel.stride(kernel, state, keys))
    batch = measure.timed_apart(measure.evaluate_batch, kernel, state, keys[:unknown])[1] / unknown
    if one < LEAST_GAIN * batch:
        reason = "a step in a batch costs as much as one by itself"
        return choice_of(Sequential(), reason, one, batch)
    trial = TRIAL_WINDOWS * window
    if trial <= TRIAL_SHARE * num_chains * num_samples:
        solved = measure.timed_apart(measure.run_chain, parallel, kernel, state, keys[:trial])[1]
        solved /= trial
        how = f"as a trial of {trial} draws showed"
    else:
        solved = TYPICAL_EVALUATIONS * batch
        how = f"if it takes {TYPICAL_EVALUATIONS:.2g} evaluations of the step, too many to try"
    pays = solved * LEAST_GAIN < one
    return choice_of(
        parallel if pays else Sequential(),
        f"a draw takes {one * 1e3:.2g} ms by the plain loop and {solved * 1e3:.2g} ms in parallel, "
        f"{how}",
        one,
        solved,
    )
