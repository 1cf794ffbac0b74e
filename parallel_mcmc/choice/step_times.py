"""What the steps of chains side by side take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import jax

from parallel_mcmc._tree import PyTree
from parallel_mcmc.choice.side_by_side import side_by_side, starts_near
from parallel_mcmc.kernels.base import Kernel

IDLE_CALLS = 5
"""Times that a call without a step is timed."""


class StepTime(NamedTuple):
    """What a step takes, as a few calls have shown."""

    seconds: float
    doubt: float
    """Seconds by which that may be off, as far as calls without a step differ."""


def clocked_runs(runs: Sequence[Callable[[int], Any]], steps: int) -> tuple[list[Any], StepTime]:
    """Return the outcomes of runs of so many steps by one program, and what a step takes.

    The first of them is not timed.
    """
    idle = idle_seconds(runs[0])
    outcomes, times = zip(*(clocked(run, steps) for run in runs), strict=True)
    return list(outcomes), time_of_step(times[1:], steps, idle)


def step_time(
    kernel: Kernel, state: PyTree, keys: jax.Array, steps: int, count: int, repeats: int
) -> StepTime:
    """Return what one step of ``count`` chains side by side takes.

    Parameters
    ----------
    kernel, state
        A transition kernel, and the state that all chains begin at.
    keys
        Of the draws that the program can make.
    steps
        How many are made.
    count
        Number of chains.
    repeats
        How often all are made, after a first step.
    """
    run = _from_one_state(kernel, state, keys, count)
    idle = idle_seconds(run)
    clocked(run, 1)
    return time_of_step([clocked(run, steps)[1] for _ in range(repeats)], steps, idle)


def steady_step_times(
    kernel: Kernel, state: PyTree, sides: Sequence[tuple[int, jax.Array, int]], seconds: float
) -> list[StepTime]:
    """Return what a step of several numbers of chains takes once a machine has settled.

    They are run in turn, and what counts is the median of the later half: on a virtual machine both
    cores are at work, or in each other's way, only after a while.

    Parameters
    ----------
    kernel, state
        A transition kernel, and the state that all chains begin at.
    sides
        For each of them the number of chains, the keys of the draws that the program can make, and
        how many are made at once.
    seconds
        How long they are run, about.
    """
    runs = [_from_one_state(kernel, state, keys, count) for count, keys, _ in sides]
    idle = [median(idle_seconds(run)) for run in runs]
    steps = [steps for *_, steps in sides]
    rounds: list[list[float]] = []
    while sum(map(sum, rounds)) < seconds:
        rounds.append([clocked(*side)[1] for side in zip(runs, steps, strict=True)])
    later = [median(times) for times in zip(*rounds[len(rounds) // 2 :], strict=True)]
    return [
        time_of_step([taken], made, [empty])
        for taken, made, empty in zip(later, steps, idle, strict=True)
    ]


def _from_one_state(
    kernel: Kernel, state: PyTree, keys: jax.Array, count: int
) -> Callable[[int], Any]:
    """Return the call that makes so many steps of chains that all begin at ``state``."""
    starts = jax.block_until_ready(starts_near(kernel, state, count))
    return partial(side_by_side, kernel, state, starts, keys)


def time_of_step(times: Sequence[float], steps: int, idle: Sequence[float]) -> StepTime:
    """Return what a step takes, of the seconds of runs of so many and of calls that make none.

    By the fastest run, less the fastest of calls that make no step: other work of the machine only
    ever adds. The first step of a program takes several times as long, with memory cold and what
    its products of matrices keep not yet made, and is in none of the runs.
    """
    seconds = max(min(times) - min(idle), 0.0)
    return StepTime(seconds / steps, (median(idle) - min(idle)) / steps)


def idle_seconds(run: Callable[[int], Any]) -> list[float]:
    """Return the seconds of calls that make no step, without the first, which compiles."""
    return [clocked(run, 0)[1] for _ in range(1 + IDLE_CALLS)][1:]


def clocked(run: Callable[[int], Any], steps: int) -> tuple[Any, float]:
    """Return the outcome of a run of so many steps, and its seconds."""
    begin = time.perf_counter()
    result = jax.block_until_ready(run(steps))
    return result, time.perf_counter() - begin
