"""Which steps of a warmup adapt what: Stan's windows.

A fast stage reaches the typical set and adapts the step size alone. In the slow windows that
follow, each twice as long as the one before, positions are gathered as well, and at the end of
each the metric is renewed. A last fast stage adapts the step size to the last metric.

References
----------
Stan Reference Manual, HMC algorithm parameters, "Automatic parameter tuning".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parallel_mcmc._errors import require_positive_int

INITIAL_STAGE, FIRST_WINDOW, FINAL_STAGE = 75, 25, 50
LEAST_STEPS = 20
"""Shorter warmups adapt the step size alone."""


class Schedule(NamedTuple):
    """What every step does: boolean arrays of shape ``(num_steps,)``."""

    is_slow: np.ndarray
    """Whether the position counts for the metric."""
    is_window_end: np.ndarray
    """Whether the metric is renewed after the step; never after the last one."""


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
    schedule = Schedule(np.zeros(num_steps, bool), np.zeros(num_steps, bool))
    if num_steps < LEAST_STEPS:
        return schedule
    start, window, final = INITIAL_STAGE, FIRST_WINDOW, FINAL_STAGE
    if num_steps < start + window + final:
        start, final = int(0.15 * num_steps), int(0.1 * num_steps)
        window = num_steps - start - final
    slow_end = num_steps - final
    schedule.is_slow[start:slow_end] = True
    while start < slow_end:
        # A window takes the rest if the next, twice as long, would not fit in.
        end = start + window if start + 3 * window <= slow_end else slow_end
        schedule.is_window_end[end - 1] = True
        start, window = end, 2 * window
    return schedule
