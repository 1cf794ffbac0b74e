"""What a warmup gathers of where its chains have been, and the metric that it makes of it."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._tree import STATIC, PyTree, pytree, select
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.warmup import fisher, welford


class Moments(NamedTuple):
    """What the metric is made of: moments of where the chains have been in a window."""

    positions: welford.Welford
    gradients: welford.Welford | None
    """Of the log density there; None if the kernel takes none."""


class Estimator(Protocol):
    """What a metric is made of, and how."""

    def first(self, given: Metric, dim: int, dtype: Any) -> Metric:
        """Return a metric of the kind that will be adapted, closest to ``given``."""
        ...

    def nothing(self, states: PyTree, dim: int, dtype: Any) -> Any:
        """Return what has been gathered before the first of ``states``, ``(num_chains, ...)``."""
        ...

    def gathered(self, gathered: Any, states: PyTree, counts: jax.Array, window_steps: Any) -> Any:
        """Add the states, ``(num_chains, n, ...)``, that ``counts``, ``(num_chains, n)``, names.

        The window they are of has ``window_steps`` steps.
        """
        ...

    def renewed(self, old: Any, gathered: Any, is_last: jax.Array) -> Metric:
        """Return the metric of what was gathered, or the old one if that gives none."""
        ...


@pytree
@dataclasses.dataclass(frozen=True)
class Covariance:
    """A metric of the positions' variances or of their whole covariance matrix.

    It is the covariance in the end, and before that, since the chains may still be on their way,
    what the gradients tell of it as well.
    """

    dense: bool = dataclasses.field(metadata=STATIC)
    """Whether it is the whole matrix."""
    regularise: bool = dataclasses.field(default=True, metadata=STATIC)
    """Whether to shrink the estimate."""
    structure: jax.Array | None = None
    """Which entries of a dense metric are adapted, boolean ``(D, D)``; None for all."""

    def first(self, given: Metric, dim: int, dtype: Any) -> Metric:
        """Return a metric of the kind that will be adapted, closest to ``given``."""
        matrix = jnp.asarray(given.inverse_mass_matrix(), dtype)
        if matrix.ndim == 2:
            return metric(matrix if self.dense else jnp.diagonal(matrix))
        diagonal = jnp.broadcast_to(matrix, (dim,))
        return metric(jnp.diag(diagonal) if self.dense else diagonal)

    def nothing(self, states: PyTree, dim: int, dtype: Any) -> Moments:
        """Return what has been gathered before the first of ``states``."""
        none = welford.init(dim, self.dense, dtype)
        return Moments(none, none if hasattr(states, "logdensity_grad") else None)

    def gathered(
        self, gathered: Moments, states: PyTree, counts: jax.Array, window_steps: Any
    ) -> Moments:
        """Add the states that ``counts``, ``(num_chains, n)``, names.

        Parameters
        ----------
        gathered
            What has been gathered before.
        states
            States of the kernel, leaves ``(num_chains, n, ...)``.
        counts
            Which of them to add.
        window_steps
            Steps of the window.
        """
        counts = counts.ravel()
        positions = welford.update(gathered.positions, vectors(states.position), counts)
        if gathered.gradients is None:
            return Moments(positions, None)
        gradients = vectors(states.logdensity_grad)
        return Moments(positions, welford.update(gathered.gradients, gradients, counts))

    def renewed(self, old: Metric, gathered: Moments, is_last: jax.Array) -> Metric:
        """Return the metric of what was gathered, or the old one if that gives none."""
        positions = gathered.positions
        if self.regularise:
            estimate = welford.regularised(positions)
        else:
            estimate = welford.covariance(positions)
        if self.structure is not None:
            estimate = jnp.where(self.structure, estimate, 0)
        if gathered.gradients is not None:
            early = fisher.estimate(positions, gathered.gradients, self.structure)
            estimate = jnp.where(~is_last & jnp.isfinite(early).all(), early, estimate)
        new = metric(estimate)
        usable = positions.count > 1
        for leaf in jax.tree.leaves(new):
            usable = usable & jnp.isfinite(leaf).all()
        return select(usable, new, old)


def vectors(tree: PyTree) -> jax.Array:
    """Return the leaves of every step of every chain as one vector, ``(num_chains * n, D)``."""
    rows = jax.vmap(jax.vmap(lambda leaves: ravel_pytree(leaves)[0]))(tree)
    return rows.reshape(-1, rows.shape[-1])
