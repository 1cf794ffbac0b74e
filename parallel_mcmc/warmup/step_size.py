"""Step sizes with a wanted acceptance rate: dual averaging, and where to start it.

An update takes the mean acceptance rate of a block of transitions. That is less noisy than the
rate of one, for which algorithm 5 is made, so that the constants differ: there are fewer updates,
and each must do more. Where the step size wanders, its acceptance rates average to the target, and
the average step size has a higher one.

References
----------
Hoffman and Gelman, The No-U-Turn Sampler, JMLR 15, 2014, algorithms 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

GAMMA = 0.7
"""How weakly the step size heeds an error."""
LARGEST_ERROR = 4
"""One that is larger says no more than this: that the step size is much too large."""
T0 = 5
"""How strongly the first updates are damped."""
KAPPA = 0.75
"""How fast the average forgets the first step sizes."""
GRID = 128
"""Log step sizes are multiples of 1 over this. Acceptance rates that differ by rounding alone, as
those of a parallel and of a sequential chain do, then lead to the same step size: without it the
adaptation amplifies the difference from update to update."""
MAX_DOUBLINGS = 60


class DualAveraging(NamedTuple):
    """State of dual averaging: all fields are scalars."""

    log_step_size: jax.Array
    """Of the next transitions."""
    log_average: jax.Array
    """Weighted mean of the log step sizes since the start: the result."""
    error: jax.Array
    """Weighted mean of target minus acceptance rate, in units of one minus the target: the nearer
    to one a rate is, the less it changes with the step size, and the less noisy it is."""
    count: jax.Array
    """Updates since the start."""
    centre: jax.Array
    """Log step size towards which the iterates are pulled: the first one."""


def init(step_size: jax.Array) -> DualAveraging:
    """Return the state before the first update; the dtype is that of ``step_size``."""
    log_step_size = jnp.log(step_size)
    zero = jnp.zeros_like(log_step_size)
    return DualAveraging(log_step_size, zero, zero, jnp.zeros((), jnp.int32), log_step_size)


def update(
    state: DualAveraging,
    acceptance_rate: jax.Array,
    target: jax.Array | float,
    largest: jax.Array | float = jnp.inf,
) -> DualAveraging:
    """Return the state after transitions that accepted with a mean of ``acceptance_rate``.

    No step size is above ``largest``.
    """
    dtype = state.error.dtype
    count = state.count + 1
    m = count.astype(dtype)
    weight = 1 / (m + T0)
    latest = jnp.minimum((target - acceptance_rate) / (1 - target), LARGEST_ERROR)
    error = (1 - weight) * state.error + weight * latest
    log_step_size = state.centre - jnp.sqrt(m) / GAMMA * error
    log_step_size = jnp.round(log_step_size * GRID) / GRID
    log_step_size = jnp.minimum(log_step_size, jnp.log(largest))
    decay = m**-KAPPA
    log_average = decay * log_step_size + (1 - decay) * state.log_average
    return DualAveraging(
        log_step_size.astype(dtype),
        log_average.astype(dtype),
        error.astype(dtype),
        count,
        state.centre,
    )


def final(state: DualAveraging) -> jax.Array:
    """Return the adapted step size; the current one before any update."""
    return jnp.exp(jnp.where(state.count > 0, state.log_average, state.log_step_size))


def find_reasonable_step_size(
    acceptance_rate: Callable[[jax.Array], jax.Array],
    initial_step_size: jax.Array,
    target: jax.Array | float,
    largest: jax.Array | float = jnp.inf,
) -> jax.Array:
    """Double or halve a step size until the acceptance rate crosses the target.

    Traceable. The search ends after a factor of ``2**60`` at the latest.

    Parameters
    ----------
    acceptance_rate
        Acceptance rate of one transition as a function of the step size. It should use the same
        random numbers at every call; NaN counts as 0.
    initial_step_size
        Where to start, positive: a scalar, or one step size a chain, whose searches then go on
        side by side.
    target
        Acceptance rate to cross, between 0 and 1.
    largest
        Where a search that goes up ends at the latest.

    Returns
    -------
    jax.Array
        The first step size on the other side of the target.

    Examples
    --------
    >>> float(find_reasonable_step_size(lambda e: jnp.exp(-e), jnp.array(0.01), 0.8))
    0.3199999928474426
    """

    def direction(step_size: jax.Array) -> jax.Array:
        return jnp.where(acceptance_rate(step_size) > target, 1, -1)

    def unfinished(step_size: jax.Array, now: jax.Array, first: jax.Array) -> jax.Array:
        return (now == first) & ((first < 0) | (step_size < largest))

    def searching(carry: tuple) -> jax.Array:
        *search, doublings = carry
        return jnp.any(unfinished(*search)) & (doublings < MAX_DOUBLINGS)

    def move(carry: tuple) -> tuple:
        step_size, now, first, doublings = carry
        moved = jnp.where(first > 0, jnp.minimum(2 * step_size, largest), step_size / 2)
        step_size = jnp.where(unfinished(step_size, now, first), moved, step_size)
        return step_size, direction(step_size), first, doublings + 1

    first = direction(initial_step_size)
    return jax.lax.while_loop(searching, move, (initial_step_size, first, first, 0))[0]
