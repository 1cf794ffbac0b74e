"""Which steps of a warmup adapt what: Stan's windows.

A fast stage reaches the typical set and adapts the step size alone. In the slow windows that
follow, each twice as long as the one before, positions are gathered as well, and at the end of
each the metric is renewed. A last fast stage adapts the step size to the last metric.

Within a stage the step size changes only between blocks of steps, so that a block can be solved
in parallel: short blocks while much is to be learnt, long ones in what is left of a slow window.

References
----------
Stan Reference Manual, HMC algorithm parameters, "Automatic parameter tuning".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parallel_mcmc._errors import require_positive_int

INITIAL_STAGE, FIRST_WINDOW, FINAL_STAGE = 75, 25, 50
LEAST_FULL = INITIAL_STAGE + FIRST_WINDOW + FINAL_STAGE
"""Shorter warmups have shorter stages."""
LEAST_STEPS = 20
"""Shorter warmups adapt the step size alone."""

SHORT_BLOCK, LONG_BLOCK = 5, 50
"""Most steps with one step size: at the beginning of a stage, and later in a slow window."""
SHORT_BLOCKS = 5
"""With how many short blocks a slow window begins."""
LEAST_BLOCKS = 10
"""A stage of fewer steps than this many short blocks has shorter ones."""


class Schedule(NamedTuple):
    """What every step does: boolean arrays of shape ``(num_steps,)``."""

    is_slow: np.ndarray
    """Whether the position counts for the metric."""
    is_window_end: np.ndarray
    """Whether the metric is renewed after the step; never after the last one."""
    is_block_end: np.ndarray
    """Whether the step size is renewed after the step."""


def build_schedule(num_steps: int) -> Schedule:
    """Return the windows of a warmup of ``num_steps`` steps.

    Below 150 steps the stages are 15 %, 75 % and 10 % of all; below 20 there are no slow windows.

    Raises
    ------
    ValueError
        If ``num_steps`` is not a positive integer.

    Examples
    --------
    >>> np.flatnonzero(build_schedule(1000).is_window_end)
    array([ 99, 149, 249, 449, 949])
    """
    num_steps = require_positive_int("num_steps", num_steps)
    schedule = Schedule(*(np.zeros(num_steps, bool) for _ in Schedule._fields))
    if num_steps < LEAST_STEPS:
        _cut(schedule.is_block_end, 0, num_steps, is_slow=False)
        return schedule
    start, window, final = INITIAL_STAGE, FIRST_WINDOW, FINAL_STAGE
    if num_steps < LEAST_FULL:
        start, final = int(0.15 * num_steps), int(0.1 * num_steps)
        window = num_steps - start - final
    slow_end = num_steps - final
    schedule.is_slow[start:slow_end] = True
    _cut(schedule.is_block_end, 0, start, is_slow=False)
    while start < slow_end:
        # A window takes the rest if the next, twice as long, would not fit in.
        end = start + window if start + 3 * window <= slow_end else slow_end
        schedule.is_window_end[end - 1] = True
        _cut(schedule.is_block_end, start, end, is_slow=True)
        start, window = end, 2 * window
    _cut(schedule.is_block_end, slow_end, num_steps, is_slow=False)
    return schedule


def _cut(is_block_end: np.ndarray, start: int, end: int, *, is_slow: bool) -> None:
    """Mark the ends of the blocks of a stage."""
    short = min(SHORT_BLOCK, max(1, (end - start) // LEAST_BLOCKS))
    blocks = 0
    while start < end:
        length = LONG_BLOCK if is_slow and blocks >= SHORT_BLOCKS else short
        start, blocks = min(start + length, end), blocks + 1
        is_block_end[start - 1] = True


class Parts(NamedTuple):
    """A warmup cut into parts of one step size and metric each: arrays of one entry a part."""

    first: np.ndarray
    """Its first step."""
    count: np.ndarray
    """Its steps."""
    size: np.ndarray
    """Which of the sizes, steps of a compiled program, it has."""
    is_stage_start: np.ndarray
    """Whether a metric and a search for a step size come before it."""
    is_slow: np.ndarray
    """Whether its positions count for the metric."""
    is_block_end: np.ndarray
    """Whether the step size is renewed after it."""
    windows_left: np.ndarray
    """Windows that end with it or later."""
    window_steps: np.ndarray
    """Steps of the slow window or fast stage that it is part of."""


def cut(schedule: Schedule, sizes: tuple[int, ...]) -> Parts:
    """Cut a schedule into parts of at most the largest of ``sizes``, which increase.

    A part is within one block; one that is as short as a smaller size gets that one.

    Examples
    --------
    >>> cut(build_schedule(100), (5, 50)).count
    array([ 1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  5,  5,
            5,  5,  5, 50,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1])
    """
    first, count = [], []
    start = 0
    for end in np.flatnonzero(schedule.is_block_end) + 1:
        while start < end:
            first.append(start)
            count.append(min(sizes[-1], int(end) - start))
            start += count[-1]
    firsts, counts = np.array(first), np.array(count)
    lasts = firsts + counts - 1
    starts = np.roll(schedule.is_window_end, 1)
    starts[0] = True
    ends = np.append(np.flatnonzero(schedule.is_window_end) + 1, len(schedule.is_slow))
    slow_start = int(np.argmax(schedule.is_slow)) if schedule.is_slow.any() else 0
    bounds = np.unique([0, slow_start, *ends])
    window = np.searchsorted(bounds, firsts, side="right")
    return Parts(
        first=firsts,
        count=counts,
        size=np.searchsorted(sizes, counts),
        is_stage_start=starts[firsts],
        is_slow=schedule.is_slow[firsts],
        is_block_end=schedule.is_block_end[lasts],
        windows_left=np.cumsum(schedule.is_window_end[::-1])[::-1][firsts],
        window_steps=np.diff(bounds)[window - 1],
    )
