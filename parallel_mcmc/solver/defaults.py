"""What a solution is asked for where nothing is said."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

LARGEST_DEFAULT_WINDOW = 4096


def default_tolerance(dtype: Any) -> float:
    """Return the tolerance for states of ``dtype``, in units of their scale."""
    return 1e-9 if jnp.finfo(dtype).bits >= 64 else 1e-4


def default_max_iterations(total: int, window: int) -> int:
    """Return the iteration budget.

    A window that slides by less than two states an iteration does not pay: the plain loop is
    faster then.
    """
    return 128 + (total // 2 if window < total else 0)
