"""A metric of a diagonal and a few directions, from positions and gradients.

The diagonal is the one of least Fisher divergence. In coordinates scaled by it, the directions in
which the positions vary most and those in which the gradients do, where the posterior is narrow,
span a small space; there the metric is the geometric mean of the positions' covariance and of the
inverse of the gradients', as in :mod:`parallel_mcmc.warmup.fisher`, and of its eigenvectors those
count that are furthest from 1. The diagonal is then estimated anew from what is across these
directions, which had blurred it, and so on for some rounds.

References
----------
Seyboldt, Carlson and Carpenter, Preconditioning Hamiltonian Monte Carlo by minimizing Fisher
divergence, arXiv 2603.18845, section 3.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_positive_int
from parallel_mcmc._tree import STATIC, PyTree, pytree, select
from parallel_mcmc.kernels.low_rank_metric import LowRankMetric
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.warmup import fisher, welford
from parallel_mcmc.warmup.moments import Moments, vectors

ROUNDS = 3
"""How often diagonal and directions are estimated anew, each given the other."""


class Kept(NamedTuple):
    """What is gathered in a window."""

    moments: Moments
    """Variances of all states."""
    positions: jax.Array
    """Positions of some states, spread evenly over the window, shape ``(most_kept, D)``."""
    gradients: jax.Array | None
    """The gradients there; None if the kernel takes none."""
    steps: jax.Array
    """Steps seen, scalar."""
    rows: jax.Array
    """Which rows hold a state, shape ``(most_kept,)``."""


@pytree
@dataclasses.dataclass(frozen=True)
class LowRank:
    """The metric of a warmup in many dimensions: variances, and a few directions.

    For ``dense`` of :func:`~parallel_mcmc.warmup.window_adaptation` and ``dense_mass`` of the
    NumPyro kernels. No array has more than ``max(most_kept, 2 rank)`` times D entries, and the
    tuned metric is a :class:`~parallel_mcmc.kernels.LowRankMetric`.

    Parameters
    ----------
    rank
        Number of directions, at least 1; at most D are used.
    most_kept
        States of a window, of all chains together, whose positions are kept for it, at least
        ``rank``.

    Raises
    ------
    ValueError
        If ``rank`` is not a positive integer, or ``most_kept`` is less than ``rank``.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> from parallel_mcmc.warmup import LowRank, window_adaptation
    >>> def logdensity(x):
    ...     return -0.5 * jnp.sum((x - 0.9 * x.mean()) ** 2)
    >>> kernel = pmc.hmc(logdensity, 0.1, None, 4)
    >>> warmup = window_adaptation(
    ...     jax.random.key(0), kernel, jnp.zeros(50), 300, dense=LowRank(3)
    ... )
    >>> warmup.kernel.metric.vectors.shape
    (50, 3)
    """

    rank: int = dataclasses.field(default=10, metadata=STATIC)
    most_kept: int = dataclasses.field(default=500, metadata=STATIC)

    def __post_init__(self) -> None:
        require_positive_int("rank", self.rank)
        if require_positive_int("most_kept", self.most_kept) < self.rank:
            raise ValueError(f"most_kept must be at least rank = {self.rank}, got {self.most_kept}")

    def first(self, given: Metric, dim: int, dtype: Any) -> LowRankMetric:
        """Return a metric of the kind that will be adapted, closest to ``given``."""
        rank = min(self.rank, dim)
        if isinstance(given, LowRankMetric):
            if len(given.values) == rank:
                return jax.tree.map(lambda leaf: leaf.astype(dtype), given)
            variances = given.variances()
        else:
            matrix = given.inverse_mass_matrix()
            variances = jnp.diagonal(matrix) if matrix.ndim == 2 else matrix
        scale = jnp.broadcast_to(jnp.sqrt(variances).astype(dtype), (dim,))
        return LowRankMetric(scale, jnp.eye(dim, rank, dtype=dtype), jnp.ones(rank, dtype))

    def nothing(self, states: PyTree, dim: int, dtype: Any) -> Kept:
        """Return what has been gathered before the first of ``states``."""
        has_gradient = hasattr(states, "logdensity_grad")
        none = welford.init(dim, False, dtype)
        rows = jnp.zeros((self.most_kept, dim), dtype)
        return Kept(
            Moments(none, none if has_gradient else None),
            rows,
            rows if has_gradient else None,
            jnp.zeros((), int),
            jnp.zeros(self.most_kept, bool),
        )

    def gathered(
        self, gathered: Kept, states: PyTree, counts: jax.Array, window_steps: Any
    ) -> Kept:
        """Add the states that ``counts``, ``(num_chains, n)``, names, of ``window_steps`` a chain.

        Every so many steps the states of all chains are kept.
        """
        num_chains, size = counts.shape
        most_steps = max(1, self.most_kept // num_chains)
        every = -(-window_steps // most_steps)
        step = gathered.steps + jnp.arange(size)
        row = (step // every) * num_chains + jnp.arange(num_chains)[:, None]
        # Rows beyond the last are dropped.
        row = jnp.where(counts & (step % every == 0), row, self.most_kept).ravel()

        def add(all_rows: jax.Array, rows: Any) -> jax.Array:
            return all_rows.at[row].set(rows, mode="drop")

        positions = vectors(states.position)
        moments = gathered.moments
        moments = moments._replace(
            positions=welford.update(moments.positions, positions, counts.ravel())
        )
        gradients = gathered.gradients
        if gradients is not None and moments.gradients is not None:
            new = vectors(states.logdensity_grad)
            moments = moments._replace(
                gradients=welford.update(moments.gradients, new, counts.ravel())
            )
            gradients = add(gradients, new)
        return Kept(
            moments,
            add(gathered.positions, positions),
            gradients,
            gathered.steps + counts[0].sum(),
            add(gathered.rows, True),
        )

    def renewed(self, old: LowRankMetric, gathered: Kept, is_last: jax.Array) -> Metric:
        """Return the metric of what was gathered, or the old one if that gives none."""
        moments, rank = gathered.moments, old.values.shape[0]
        positions = _centred(gathered.positions, moments.positions.mean, gathered.rows)
        gradients = None
        if moments.gradients is None or gathered.gradients is None:
            variances = welford.regularised(moments.positions)
        else:
            variances = fisher.estimate(moments.positions, moments.gradients, None)
            gradients = _centred(gathered.gradients, moments.gradients.mean, gathered.rows)
        number = jnp.sum(gathered.rows).astype(variances.dtype)
        scale = jnp.sqrt(variances)
        vectors, values = _directions(positions, gradients, scale, number, rank)
        if gradients is not None:

            def again(_: jax.Array, found: tuple) -> tuple:
                scale, vectors, _ = found
                scale = scale * _rest(positions / scale, gradients * scale, vectors, number)
                return scale, *_directions(positions, gradients, scale, number, rank)

            found = jax.lax.fori_loop(0, ROUNDS, again, (scale, vectors, values))
        else:
            found = scale, vectors, values
        usable = moments.positions.count > 1
        for leaf in found:
            usable = usable & jnp.isfinite(leaf).all()
        kept = old.scale, old.vectors, old.values
        return LowRankMetric(*select(usable, found, kept))


def _directions(
    positions: jax.Array,
    gradients: jax.Array | None,
    scale: jax.Array,
    number: jax.Array,
    rank: int,
) -> tuple[jax.Array, jax.Array]:
    """Return the directions and the variances along them, in coordinates with these scales."""
    positions = positions / scale
    candidates = [_leading(positions, rank)]
    if gradients is not None:
        gradients = gradients * scale
        candidates.append(_leading(gradients, rank))
    basis = jnp.linalg.qr(jnp.concatenate(candidates, axis=1))[0]

    def covariance(centred: jax.Array) -> jax.Array:
        rows = jnp.matmul(centred, basis, precision="highest")
        return jnp.matmul(rows.T, rows, precision="highest") / (number - 1)

    matrix = number / (number + 5) * covariance(positions)
    matrix = matrix + fisher.least(number) * jnp.eye(len(matrix), dtype=matrix.dtype)
    if gradients is not None:
        matrix = fisher.geometric_mean(matrix, covariance(gradients), fisher.least(number))
    values, within = jnp.linalg.eigh(matrix)
    furthest = jnp.argsort(-jnp.abs(jnp.log(values)))[:rank]
    return jnp.matmul(basis, within[:, furthest], precision="highest"), values[furthest]


def _rest(
    positions: jax.Array, gradients: jax.Array, vectors: jax.Array, number: jax.Array
) -> jax.Array:
    """Return the scales of least Fisher divergence of what is across the directions."""

    def variances(centred: jax.Array) -> jax.Array:
        along = jnp.matmul(centred, vectors, precision="highest")
        across = centred - jnp.matmul(along, vectors.T, precision="highest")
        return jnp.sum(across**2, axis=0) / (number - 1)

    least = fisher.least(number)
    return ((variances(positions) + least) / (variances(gradients) + least)) ** 0.25


def _centred(rows: jax.Array, mean: jax.Array, used: jax.Array) -> jax.Array:
    return jnp.where(used[:, None], rows - mean, 0)


def _leading(centred: jax.Array, rank: int) -> jax.Array:
    """Return the ``rank`` directions in which rows vary most, ``(D, rank)``, of any length.

    They are found from the products of the rows among themselves, which are few.
    """
    gram = jnp.matmul(centred, centred.T, precision="highest")
    combinations = jnp.linalg.eigh(gram)[1][:, -rank:]
    directions = jnp.matmul(centred.T, combinations, precision="highest")
    return directions / jnp.maximum(jnp.linalg.norm(directions, axis=0), 1e-30)
