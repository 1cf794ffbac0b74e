"""The faster way on a CPU, where the plain loop is hard to beat."""

from __future__ import annotations

from functools import partial

import jax

from parallel_mcmc._tree import PyTree, at, num_steps
from parallel_mcmc.choice import measure
from parallel_mcmc.choice.coupling import Coupling, measure_coupling, side_by_side
from parallel_mcmc.choice.measure import LEAST_GAIN, TRIAL_SHARE
from parallel_mcmc.choice.outcome import Choice, choice_of
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import InLanes, Parallel, Runner, Sequential

SMALL_TRAFFIC = 16e6
"""Bytes that one evaluation of a step moves: below it a CPU has them in its caches, and a batch
of steps is not cheap enough to pay for several evaluations a draw."""

SHORT_RUN = 2000
"""Draws of a chain from which on a small step is worth the compilation of a trial."""

LANES = 32
"""Steps in a batch, of all chains together."""

FEWEST_LANES = 8

MEETINGS = 2
"""Fewest times as many draws in a lane as it takes to meet."""

LONGEST_LANE = 16
"""Most times as many: longer lanes gain no more, and need memory."""

BATCH_COST = 6
"""How many steps a batch of all lanes costs as much as, about: for the length of the trial."""

LONGEST_TRIAL = 256

TYPICAL_EVALUATIONS = 3.0
"""Evaluations of the step for each draw, where the run is too short to measure them."""

TIMED_STEPS = 4
"""Steps of the plain loop that are timed; of a small step more."""

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

    A run of few draws of a small step is left to the loop: it is over before a trial is compiled.
    """
    num_chains, num_samples = keys.shape[:2]
    traffic = measure.step_traffic(kernel, at(states, 0), keys[0, 0])
    small = traffic < SMALL_TRAFFIC
    if small and num_samples < SHORT_RUN:
        reason = (
            f"a step moves {traffic / 1e6:.2g} MB, which a CPU has in its caches, and fewer than "
            f"{SHORT_RUN:,} draws are over before a trial would be compiled"
        )
        return choice_of(Sequential(), reason)
    hindrance = _hindrance(kernel, states)
    if small and hindrance:
        return choice_of(Sequential(), hindrance)
    steps = min(num_samples, LONGEST_TRIAL if small else TIMED_STEPS)
    loop = partial(side_by_side, count=num_chains)
    one = measure.timed_apart(loop, kernel, at(states, 0), keys[0, :steps])[1] / steps / num_chains
    if not hindrance:
        chosen = _in_lanes(kernel, states, keys, one)
        if small or isinstance(chosen[0], InLanes):
            return chosen
    return _by_newton(parallel, kernel, at(states, 0), keys, one)


def _hindrance(kernel: Kernel, states: PyTree) -> str:
    """Return why the chains cannot be cut into lanes; nothing if they can."""
    num_chains = num_steps(states)
    if num_chains > LANES // 2:
        return f"{num_chains} chains fill a batch"
    if kernel.bind(at(states, 0).position).scale is None:
        return "the scale of its states, by which chains that meet are told, is not known"
    return ""


def _in_lanes(kernel: Kernel, states: PyTree, keys: jax.Array, one: float) -> tuple[Runner, Choice]:
    """Return shooting, or the plain loop where it does not pay."""
    num_chains, num_samples = keys.shape[:2]
    lanes = LANES // num_chains
    draws = int(TRIAL_SHARE * num_chains * num_samples / BATCH_COST)
    draws = min(max(draws, TIMED_STEPS), LONGEST_TRIAL, num_samples)
    found = measure_coupling(kernel, states, keys[0, :draws], lanes, num_samples)
    told = f"{found.exponent:.2g} ± {found.error:.1g} a draw"
    if found.draws is None:
        reason = f"chains with the same random numbers do not clearly approach each other ({told})"
        return _with_exponent(choice_of(Sequential(), reason, one), found)
    while lanes * num_chains > FEWEST_LANES and num_samples < MEETINGS * found.draws * lanes:
        lanes //= 2
    window = min(num_samples, lanes * max(LONGEST_LANE * found.draws, LONGEST_TRIAL))
    # What a batch of fewer lanes takes is between the two that were measured.
    share = (lanes - 1) / (LANES // num_chains - 1)
    batch = one * num_chains + share * (found.seconds - one * num_chains)
    solved = batch / (lanes * num_chains) * (1 + found.draws * lanes / window)
    pays = lanes > 1 and solved * LEAST_GAIN < one
    reason = (
        f"chains with the same random numbers meet after some {found.draws} draws ({told}); a draw "
        f"takes {one * 1e6:.3g} µs by the loop and {solved * 1e6:.3g} µs in {lanes} lanes"
    )
    runner = InLanes(lanes, window) if pays else Sequential()
    return _with_exponent(choice_of(runner, reason, one, solved), found)


def _with_exponent(chosen: tuple[Runner, Choice], found: Coupling) -> tuple[Runner, Choice]:
    runner, choice = chosen
    return runner, choice._replace(lyapunov_exponent=found.exponent, lyapunov_error=found.error)


def _by_newton(
    parallel: Parallel, kernel: Kernel, state: PyTree, keys: jax.Array, one: float
) -> tuple[Runner, Choice]:
    """Time a batch of a window's steps and, where the run is long enough, two windows."""
    num_chains, num_samples = keys.shape[:2]
    keys, window = keys[0], parallel.window
    batch = measure.timed_apart(measure.evaluate_batch, kernel, state, keys[:window])[1] / window
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
        how = f"if it takes {TYPICAL_EVALUATIONS:.0f} evaluations of the step, too many to try"
    pays = solved * LEAST_GAIN < one
    return choice_of(
        parallel if pays else Sequential(),
        f"a draw takes {one * 1e3:.2g} ms by the plain loop and {solved * 1e3:.2g} ms in parallel, "
        f"{how}",
        one,
        solved,
    )
