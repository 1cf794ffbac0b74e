"""How far two states of a recurrence are apart, in units of the scale of the state."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.scans import diagonal_scan

# Two evaluations of one step may differ by this many units in the last place: a batch sums in
# another order than a single step. A tolerance of zero asks for the same bits, and has no slack.
ROUNDING_ULPS = 16


def residual_of(
    recurrence: Recurrence,
    values: PyTree,
    guess: PyTree,
    y: jax.Array,
    x: jax.Array,
    sizes: jax.Array,
    finite: jax.Array,
    tolerance: jax.Array | float,
) -> jax.Array:
    """Return how far each of ``values`` is from the state that was guessed for it, ``(W,)``.

    It is the largest difference of a coordinate, beyond rounding; infinite where a value is not
    finite or a part that is no coordinate differs.

    Parameters
    ----------
    values, guess
        States, leading axis W.
    y, x
        Their coordinates, shape ``(W, D)``.
    sizes
        Scale of the coordinates, broadcastable to ``(W, D)``.
    finite
        Whether each of the values is finite, shape ``(W,)``.
    tolerance
        What the residual is compared with: if it is 0, only equal bits make a residual of 0.
    """
    slack = jnp.where(tolerance > 0, ROUNDING_ULPS, 0)
    residual = jnp.max(_beyond_rounding(y, x, slack) / sizes, axis=-1)
    # A processor may flush the difference of two small numbers to zero.
    differs = (slack == 0) & (y != x).any(axis=-1)
    residual = jnp.where(differs, jnp.maximum(residual, jnp.finfo(y.dtype).tiny), residual)
    rest = jax.vmap(recurrence.chart.rest)
    agree = finite
    for ours, theirs in zip(
        jax.tree.leaves(rest(values)), jax.tree.leaves(rest(guess)), strict=True
    ):
        agree &= (ours == theirs).all(axis=tuple(range(1, ours.ndim)))
    return jnp.where(agree, residual, jnp.inf)


def observed_scale(y: jax.Array, anchor: jax.Array, finite: jax.Array) -> jax.Array:
    """Root mean square distance from the anchor up to each step, shape ``(W, D)``.

    Step t is judged by the steps before it alone, so that a wild iterate further on cannot loosen
    the tolerance of a step that is about to be accepted.
    """
    square = jnp.where(finite[:, None], (y - anchor) ** 2, 0)
    steps = jnp.arange(1, len(y) + 1, dtype=y.dtype)[:, None]
    # A running sum: on a CPU faster so, and in less memory, than by `cumsum`.
    size = jnp.sqrt(diagonal_scan(jnp.ones_like(steps), square) / steps)
    return jnp.where(size > 0, size, 1)


def _beyond_rounding(a: jax.Array, b: jax.Array, ulps: jax.Array | int) -> jax.Array:
    rounding = ulps * jnp.finfo(a.dtype).eps * jnp.abs(a)
    return jnp.maximum(jnp.abs(a - b) - rounding, 0)
