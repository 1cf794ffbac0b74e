"""How the vectors of a batch lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
from jax.custom_batching import custom_vmap
from jax.experimental.layout import Layout, with_layout_constraint

LEAST_BATCH = 4
"""Vectors of a batch from which on it pays to lay them out side by side."""


@jax.custom_jvp
def batch_minor(vector: jax.Array) -> jax.Array:
    """Return ``vector``; in a batch, with the same entry of all vectors next to each other.

    A CPU computes the entries of a vector eight or sixteen at a time only if there are as many and
    all are treated alike, which those of a position seldom are: a log density takes some of them
    for a scale, some for effects. The same entry of many positions is treated alike. JAX puts the
    axis of a batch first, where the entries of each vector are next to each other; this changes
    the order in memory, and no axis.

    Parameters
    ----------
    vector
        An array, of any shape.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> batch_minor(jnp.arange(3.0))
    Array([0., 1., 2.], dtype=float32)
    """
    return _placed(0)(vector)


@batch_minor.defjvp
def _tangent(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return batch_minor(*primals), tangents[0]


@lru_cache
def _placed(batch_axes: int) -> Callable[[jax.Array], jax.Array]:
    """Return the function for an array whose first ``batch_axes`` axes are those of batches."""

    @custom_vmap
    def placed(batch: jax.Array) -> jax.Array:
        if not batch_axes or jax.default_backend() != "cpu":
            return batch
        order = *range(batch_axes, batch.ndim), *range(batch_axes)
        return with_layout_constraint(batch, Layout(order))

    @placed.def_vmap
    def in_batch(axis_size: int, is_batched: list, batch: jax.Array) -> tuple[jax.Array, bool]:
        if axis_size < LEAST_BATCH:
            return batch, True
        return _placed(batch_axes + 1)(batch), True

    return placed
