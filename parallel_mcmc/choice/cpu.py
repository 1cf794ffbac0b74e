"""The faster way on a CPU, where the plain loop is hard to beat."""

from __future__ import annotations

import jax

from parallel_mcmc._tree import PyTree, at, num_steps
from parallel_mcmc.choice import measure
from parallel_mcmc.choice.coupling import Coupling, measure_coupling, step_time
from parallel_mcmc.choice.measure import LEAST_GAIN, TRIAL_SHARE
from parallel_mcmc.choice.outcome import Choice, choice_of
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import InLanes, Parallel, Runner, Sequential

SMALL_TRAFFIC = 16e6
"""Bytes that one evaluation of a step moves: below it a CPU has them in its caches, and a batch
of steps is not cheap enough to pay for several evaluations a draw."""

SHORT_RUN = 4000
"""Draws of a chain from which on any step is worth the compilation of a trial."""

SHORT_TRAFFIC = 1e9
"""Bytes that all steps of a run move from which on a run of fewer draws is worth it as well."""

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

COUPLED = 3
"""Chains, at least, that are seen to meet or not."""

LEAST_RUNS = 2
"""Times that the plain loop is timed, at least."""

COUPLING_SHARE = 0.02
"""Largest share of a run's draws for both."""

BATCH_SHARE = 0.03
"""Largest share for batches of lanes, of which the first is slow."""

MOST_REPEATS = 8
"""Times that a batch is timed."""

LONGEST_TRIAL = 256

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

TYPICAL_EVALUATIONS = 2.0
"""Evaluations of the step for each draw, where the run is too short to measure them: 1.9 and 2.1
were measured for regressions by HMC in the default window."""

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
        chosen = _in_lanes(kernel, states, keys, traffic)
        if small or isinstance(chosen[0], InLanes):
            return chosen
        one = chosen[1].sequential_seconds
        assert one is not None
    else:
        steps = min(num_samples, TIMED_STEPS)
        one = step_time(kernel, at(states, 0), keys[0, :steps], num_chains, 1).seconds / num_chains
    return _by_newton(parallel, kernel, at(states, 0), keys, one)


def _hindrance(kernel: Kernel, states: PyTree) -> str:
    """Return why the chains cannot be cut into lanes; nothing if they can."""
    num_chains = num_steps(states)
    if num_chains > BATCH // 2:
        return f"{num_chains} chains fill a batch"
    if kernel.bind(at(states, 0).position).scale is None:
        return "the scale of its states, by which chains that meet are told, is not known"
    return ""


def _in_lanes(
    kernel: Kernel, states: PyTree, keys: jax.Array, traffic: float
) -> tuple[Runner, Choice]:
    """Return shooting, or the plain loop where it does not pay, for steps that move so much."""
    num_chains, num_samples = keys.shape[:2]
    runs = max(LEAST_RUNS, -(-COUPLED // num_chains))
    draws = min(max(int(COUPLING_SHARE * num_samples / runs), TIMED_STEPS), LONGEST_TRIAL)
    draws = min(draws, num_samples)
    found, alone = measure_coupling(kernel, states, keys[0, :draws], runs, num_samples)
    one = alone.seconds / num_chains
    told = f"{found.exponent:.2g} ± {found.error:.1g} a draw"
    if found.draws is None:
        reason = f"chains with the same random numbers do not clearly approach each other ({told})"
        return _with_exponent(choice_of(Sequential(), reason, one), found)
    small = traffic < SMALL_TRAFFIC
    most, shared = (MOST_LANES, SHARED_OF_SMALL) if small else (BATCH, SHARED)
    lanes = best_lanes(found.draws, num_samples, num_chains, most, shared)
    met = f"chains with the same random numbers meet after some {found.draws} draws ({told})"
    if lanes == 1:
        return _with_exponent(choice_of(Sequential(), f"{met}, too late for lanes", one), found)
    together = lanes * num_chains
    batches = max(int(BATCH_SHARE * num_chains * num_samples * BATCH_GAIN / together), 1)
    enough = int(LONG_CALL * BATCH_GAIN / max(one * together, 1e-9)) + 1
    steps = max(min(enough, batches // LEAST_RUNS, MOST_BATCHES, num_samples), 1)
    repeats = min(batches // steps, MOST_REPEATS)
    side_by_side = step_time(kernel, at(states, 0), keys[0, :steps], together, repeats)
    # What a few steps seem to take may be anything, but not less than fewer chains take.
    batch = max(side_by_side.seconds, alone.seconds)
    evaluations = expected_evaluations(lanes, found.draws, num_samples)
    solved = batch / together * evaluations
    too_quick = traffic < TINY_TRAFFIC and one * num_chains * draws < TOO_QUICK
    quick = too_quick and together >= BATCH
    # Even if both trials had erred, each to the worse side.
    slowest = (batch + side_by_side.doubt) / together * evaluations
    pays = quick or slowest * LEAST_GAIN_OF_LANES < one - alone.doubt / num_chains
    if quick:
        times = f"is over too soon to be timed, and {lanes} lanes share what a step of a loop takes"
    else:
        times = f"takes {one * 1e6:.3g} µs by the loop and {solved * 1e6:.3g} µs in {lanes} lanes"
    reason = f"{met}; a draw {times}"
    window = window_of(lanes, found.draws, num_samples)
    runner = InLanes(lanes, window) if pays else Sequential()
    return _with_exponent(choice_of(runner, reason, one, solved), found)


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
