"""Whether lanes are faster than the plain loop on a CPU, and how many of them."""

from __future__ import annotations

import time

import jax

from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.choice.coupling import Coupling, measure_coupling
from parallel_mcmc.choice.outcome import Choice, choice_of
from parallel_mcmc.choice.step_times import StepTime, steady_step_times, step_time
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import InLanes, Runner, Sequential

BATCH = 32
"""Chains and more, over two, that make a batch by themselves; the most lanes of large steps, all
chains together, whose intermediate values a batch of more would move through memory."""

MOST_LANES = 128
"""Most lanes of small steps, of all chains together: what a step costs by itself, they share."""

SHARED = 4.0
"""Steps of a large model whose time a batch takes however few its chains are: data are read once
for all of them. Measured for regressions on 50,000 and on 200,000 rows: 2 and 5."""

SHARED_OF_SMALL = 100.0
"""The same of a small model, whose steps share the overhead of a loop and, if they are many, both
cores."""

SLOWEST = 1.25
"""Times as long as chains take to meet that the last of all lanes takes, about. Measured from 0.9
to 1.5 for regressions and Gaussians, and up to 2.5 for others."""

LONGEST_LANE = 16
"""Most times as many draws in a lane as it takes to meet: longer ones gain no more, and need
memory."""

TIMED_STEPS = 4
"""Steps of the plain loop that are timed; of a small step more."""

COUPLED = 3
"""Chains, at least, that are seen to meet or not."""

LEAST_RUNS = 2
"""Times that the plain loop is timed, at least."""

COUPLING_SHARE = 0.02
"""Largest share of a run's draws for both."""

BATCH_SHARE = 0.03
"""Largest share for batches of lanes, of which the first is slow and not timed."""

MOST_REPEATS = 8
"""Times that a batch is timed."""

UNDECIDED = 2.0
"""How much faster or slower than the loop lanes must seem for no longer trial of both."""

LONGER_TRIAL = 0.1
"""Seconds of that, at most: a virtual machine takes as long to settle, and the program takes twenty
times as long to compile."""

LONGER_TRIAL_SHARE = 0.05
"""Largest share of what the choice has taken so far, compiling included, for that."""

LONG_TRIAL_CALL = 2e-3
"""Seconds of a call in it, beside which what a call takes by itself is small."""

LONGEST_TRIAL = 256
"""Most draws of the plain loop that are timed at once, and least of a lane in a long run."""

MOST_BATCHES = 16
"""Most steps of all lanes that are timed at once."""

TOO_QUICK = 2e-4
"""Seconds of a trial that cannot be told from what a call takes."""

TINY_TRAFFIC = 1e5
"""Bytes that one evaluation of a step moves below which all it takes is the overhead of a loop,
which many lanes share."""

LEAST_GAIN_OF_LANES = 1.15
"""How much faster lanes must seem: a trial errs by a tenth, and the loop is never far off."""

LONG_CALL = 5e-4
"""Seconds of batches from which on more repeats tell more than more steps."""

BATCH_GAIN = 3
"""How many times cheaper a step is in a batch than by itself, about: for the length of a trial."""


def lanes_or_loop(
    kernel: Kernel, states: PyTree, keys: jax.Array, traffic: float, small: bool
) -> tuple[Runner, Choice]:
    """Return shooting, or the plain loop where it does not pay, and why.

    Parameters
    ----------
    kernel, states, keys
        A transition kernel, its states, leaves ``(num_chains, ...)``, and the keys of every draw,
        shape ``(num_chains, num_samples)``.
    traffic
        Bytes that one evaluation of a step moves.
    small
        Whether a CPU has them in its caches.
    """
    begin = time.perf_counter()
    num_chains, num_samples = keys.shape[:2]
    runs = max(LEAST_RUNS, -(-COUPLED // num_chains))
    draws = min(max(int(COUPLING_SHARE * num_samples / runs), TIMED_STEPS), LONGEST_TRIAL)
    draws = min(draws, num_samples)
    state, few, several = at(states, 0), keys[0, :MOST_BATCHES], keys[0, :LONGEST_TRIAL]
    found, alone = measure_coupling(kernel, states, several, draws, runs, num_samples)
    one = alone.seconds / num_chains
    told = f"{found.exponent:.2g} ± {found.error:.1g} a draw"
    if found.draws is None or found.draws_again is None:
        reason = f"chains with the same random numbers do not clearly approach each other ({told})"
        return _with_exponent(choice_of(Sequential(), reason, one), found)
    most, shared = (MOST_LANES, SHARED_OF_SMALL) if small else (BATCH, SHARED)
    again = found.draws_again
    lanes = best_lanes(again, num_samples, num_chains, most, shared)
    met = f"chains with the same random numbers meet after some {found.draws} draws ({told})"
    if again < found.draws:
        met += f", {again} where a lane's start is foreseen"
    if lanes == 1:
        return _with_exponent(choice_of(Sequential(), f"{met}, too late for lanes", one), found)
    together = lanes * num_chains
    batches = max(int(BATCH_SHARE * num_chains * num_samples * BATCH_GAIN / together) - 1, 1)
    enough = int(LONG_CALL * BATCH_GAIN / max(one * together, 1e-9)) + 1
    steps = max(min(enough, batches // LEAST_RUNS, MOST_BATCHES, num_samples), 1)
    evaluations = expected_evaluations(lanes, again, num_samples)
    repeats = min(batches // steps, MOST_REPEATS)
    batch = step_time(kernel, state, few, steps, together, repeats)
    too_quick = traffic < TINY_TRAFFIC and one * num_chains * draws < TOO_QUICK
    quick = too_quick and together >= BATCH

    def draw_time(batch: StepTime) -> float:
        # What a few steps seem to take may be anything, but not less than fewer chains take.
        return max(batch.seconds, alone.seconds) / together * evaluations

    solved = draw_time(batch)
    doubt = batch.doubt / together * evaluations + alone.doubt / num_chains
    clear = (solved + doubt) * UNDECIDED < one or solved > UNDECIDED * one
    if not (quick or clear):
        sides = [
            (num_chains, several, _enough(alone.seconds, LONGEST_TRIAL, num_samples)),
            (together, few, _enough(batch.seconds, MOST_BATCHES, num_samples)),
        ]
        longer = min(LONGER_TRIAL, LONGER_TRIAL_SHARE * (time.perf_counter() - begin))
        settled, batch = steady_step_times(kernel, state, sides, longer)
        # The loop keeps its best time: it is what must be beaten.
        alone = min(alone, settled)
        one, solved = alone.seconds / num_chains, draw_time(batch)
    if quick:
        times = f"is over too soon to be timed, and {lanes} lanes share what a step of a loop takes"
    else:
        times = f"takes {one * 1e6:.3g} µs by the loop and {solved * 1e6:.3g} µs in {lanes} lanes"
    reason = f"{met}; a draw {times}"
    window = window_of(lanes, again, num_samples)
    pays = quick or solved * LEAST_GAIN_OF_LANES < one
    runner = InLanes(lanes, window) if pays else Sequential()
    return _with_exponent(choice_of(runner, reason, one, solved), found)


def _enough(seconds: float, most: int, num_samples: int) -> int:
    """Return how many steps of so many seconds tell what one takes."""
    return min(int(LONG_TRIAL_CALL / max(seconds, 1e-9)) + 1, most, num_samples)


def best_lanes(draws: int, num_samples: int, num_chains: int, most: int, shared: float) -> int:
    """Return the number of lanes of a chain in which a draw is expected to be cheapest.

    A batch of ``B`` steps is taken to cost as much as ``B + shared`` steps. More lanes share more,
    and are shorter, so that more draws are made again: every lane goes on until it meets its old
    path. One too short for that would be made again in each round, all of it.

    Parameters
    ----------
    draws
        Draws after which chains meet.
    num_samples, num_chains
        Draws of a chain of the run, and its chains.
    most
        Most lanes, of all chains together.
    shared
        Steps whose time a batch takes by itself.

    Returns
    -------
    int
        A power of two; 1 where no number of lanes is better than the chains as they are.

    Examples
    --------
    >>> [best_lanes(draws, 512, 1, 32, 4.0) for draws in (10, 66, 400)]
    [16, 4, 1]
    """

    def cost(lanes: int) -> float:
        evaluations = expected_evaluations(lanes, draws, num_samples)
        return (1 + shared / (lanes * num_chains)) * evaluations

    long_enough = int(num_samples / (SLOWEST * max(draws, 1)))
    highest = max(min(most // num_chains, long_enough), 1)
    return min((2**i for i in range(highest.bit_length())), key=cost)


def expected_evaluations(lanes: int, draws: int, num_samples: int) -> float:
    """Return the evaluations of a draw in lanes that are long enough to meet in.

    Examples
    --------
    >>> expected_evaluations(1, 66, 512), expected_evaluations(4, 64, 512)
    (1.0, 1.625)
    """
    if lanes == 1:
        return 1.0
    return 1 + SLOWEST * draws * lanes / window_of(lanes, draws, num_samples)


def window_of(lanes: int, draws: int, num_samples: int) -> int:
    """Return the draws of all lanes of a chain, where chains meet after ``draws``."""
    return min(num_samples, lanes * max(LONGEST_LANE * draws, LONGEST_TRIAL))


def _with_exponent(chosen: tuple[Runner, Choice], found: Coupling) -> tuple[Runner, Choice]:
    runner, choice = chosen
    return runner, choice._replace(lyapunov_exponent=found.exponent, lyapunov_error=found.error)
