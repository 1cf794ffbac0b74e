"""Streaming mean and covariance of positions, pooled over chains.

References
----------
Chan, Golub and LeVeque, The American Statistician 37(3), 1983 (the update by a batch); Stan
Reference Manual, HMC algorithm parameters (the weight of the regularisation).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


class Welford(NamedTuple):
    """Moments of the positions seen so far."""

    count: jax.Array
    mean: jax.Array
    """Shape ``(D,)``."""
    scatter: jax.Array
    """Sum of squares or of outer products around the mean: ``(D,)`` or ``(D, D)``."""


def init(dim: int, dense: bool, dtype: DTypeLike) -> Welford:
    """Return the moments of no positions; ``dense`` for the full covariance matrix."""
    shape = (dim, dim) if dense else (dim,)
    return Welford(jnp.zeros((), jnp.int32), jnp.zeros(dim, dtype), jnp.zeros(shape, dtype))


def update(state: Welford, positions: jax.Array, counts: jax.Array | None = None) -> Welford:
    """Add a batch of positions, shape ``(n, D)``: those that ``counts``, ``(n,)``, names; or all.

    At least one has to count. What does not may be anything, NaN too.
    """
    if counts is None:
        counts = jnp.ones(len(positions), bool)
    number = jnp.sum(counts)
    weight = number.astype(positions.dtype)
    positions = jnp.where(counts[:, None], positions, 0)
    batch_mean = positions.sum(0) / weight
    centred = jnp.where(counts[:, None], positions - batch_mean, 0)
    shift = batch_mean - state.mean
    count = state.count + number.astype(state.count.dtype)
    fraction = weight / count.astype(shift.dtype)
    between = fraction * state.count.astype(shift.dtype)
    if state.scatter.ndim == 1:
        added = jnp.sum(centred**2, axis=0) + between * shift**2
    else:
        added = jnp.matmul(centred.T, centred, precision="highest")
        added = added + between * jnp.outer(shift, shift)
    return Welford(count, state.mean + fraction * shift, state.scatter + added)


def covariance(state: Welford) -> jax.Array:
    """Return the sample variances ``(D,)`` or covariance matrix ``(D, D)``; needs 2 positions."""
    return state.scatter / (state.count - 1).astype(state.scatter.dtype)


def regularised(state: Welford) -> jax.Array:
    """Return the estimate of ``n`` positions, shrunk to a diagonal one.

    It is ``n / (n + 5) S + 1e-3 * 5 / (n + 5) diag(S)``: Stan's, but in units of the variances.
    With Stan's target, the identity, a posterior of small scales would lose its correlations. It
    is positive definite even if ``n < D``. A coordinate that has not moved counts with a variance
    of 1, and so do all of them without two positions.
    """
    n = state.count.astype(state.scatter.dtype)
    sample = jnp.where(state.count > 1, covariance(state), 0)
    variances = sample if sample.ndim == 1 else jnp.diagonal(sample)
    target = jnp.where(variances > 0, variances, 1)
    target = target if sample.ndim == 1 else jnp.diag(target)
    return n / (n + 5) * sample + 1e-3 * 5 / (n + 5) * target
