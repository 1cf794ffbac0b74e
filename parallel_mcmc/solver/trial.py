"""Which window a long chain is solved in fastest, by a trial of its first steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import jax

WINDOWS = (256, 16384)
"""Those tried beside the default: of a small one a step's cost stays in the caches, and of a large
one an iteration advances further."""

LONG = 2**20
"""Steps from which on a trial pays: each window is a program of its own, of seconds to compile."""

TRIAL_SHARE = 64
"""How many times as long as the trial of one window a chain is."""

LEAST_GAIN = 1.5
"""How much faster than the default a window must be: at less, the next call might choose otherwise,
and compile once more."""


def trial_length(total: int) -> int:
    """Return how many steps of a chain a trial solves; none of a chain that is too short."""
    return total // TRIAL_SHARE if total >= LONG else 0


def windows_to_try(default: int, steps: int) -> tuple[int, ...]:
    """Return the windows that slide along so many steps, the default first."""
    return (default, *(window for window in WINDOWS if 2 * window <= steps))


def fastest(run: Callable[[int, bool], Any], windows: Iterable[int]) -> int:
    """Return the window with the shortest run; the first where none is clearly faster.

    Parameters
    ----------
    run
        ``run(window, quick)`` solves the steps of the trial. With ``quick`` by the same program as
        without, but soon over: it is called first, so that the time is not that of the compiler.
    windows
        The windows to try, the default first.
    """
    seconds = {}
    for window in windows:
        jax.block_until_ready(run(window, True))
        begin = time.perf_counter()
        jax.block_until_ready(run(window, False))
        seconds[window] = time.perf_counter() - begin
    default, best = next(iter(seconds)), min(seconds, key=seconds.__getitem__)
    return best if seconds[best] * LEAST_GAIN < seconds[default] else default
