"""What a warmup gathers of where its chains have been, and the metric that it makes of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._tree import PyTree, select
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.warmup import fisher, welford


class Moments(NamedTuple):
    """What the metric is made of: moments of where the chains have been in a window."""

    positions: welford.Welford
    gradients: welford.Welford | None
    """Of the log density there; None if the kernel takes none."""


def no_moments(states: PyTree, dim: int, dense: bool, dtype: Any) -> Moments:
    """Return the moments before the first of ``states``; ``dense`` for full matrices."""
    none = welford.init(dim, dense, dtype)
    return Moments(none, none if hasattr(states, "logdensity_grad") else None)


def gathered(moments: Moments, states: PyTree) -> Moments:
    """Add the states of all chains, leaves ``(num_chains, ...)``."""
    positions = welford.update(moments.positions, _vectors(states.position))
    if moments.gradients is None:
        return Moments(positions, None)
    gradients = welford.update(moments.gradients, _vectors(states.logdensity_grad))
    return Moments(positions, gradients)


def converted(given: Metric, dim: int, dense: bool, dtype: Any) -> Metric:
    """Return a metric of the kind that will be adapted, closest to ``given``."""
    matrix = jnp.asarray(given.inverse_mass_matrix(), dtype)
    if matrix.ndim == 2:
        return metric(matrix if dense else jnp.diagonal(matrix))
    diagonal = jnp.broadcast_to(matrix, (dim,))
    return metric(jnp.diag(diagonal) if dense else diagonal)


def renewed_metric(
    old: Metric,
    moments: Moments,
    structure: jax.Array | None,
    is_last: jax.Array,
    regularise: bool,
) -> Metric:
    """Return the metric of what was gathered, or the old one if that gives none.

    It is the covariance in the end, and before that, since the chains may still be on their way,
    what the gradients tell of it as well.
    """
    positions = moments.positions
    estimate = welford.regularised(positions) if regularise else welford.covariance(positions)
    if structure is not None:
        estimate = jnp.where(structure, estimate, 0)
    if moments.gradients is not None:
        early = fisher.estimate(positions, moments.gradients, structure)
        estimate = jnp.where(~is_last & jnp.isfinite(early).all(), early, estimate)
    new = metric(estimate)
    usable = positions.count > 1
    for leaf in jax.tree.leaves(new):
        usable = usable & jnp.isfinite(leaf).all()
    return select(usable, new, old)


def _vectors(tree: PyTree) -> jax.Array:
    """Return the leaves of every chain as one vector, ``(num_chains, D)``."""
    return jax.vmap(lambda leaves: ravel_pytree(leaves)[0])(tree)
