"""Where a warmup starts: an approximation of the posterior gives positions and a first metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.optimize import minimize

from parallel_mcmc._errors import require_positive_int
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import STATIC, PyTree, any_traced, as_partial, at, pytree
from parallel_mcmc.kernels.metric import Metric, metric

NEWTON_STEPS = 5
"""After the search for a mode, which ends where the gradient is small and not where it is 0."""


class Start(Protocol):
    """A way to find where a warmup starts."""

    def approximate(
        self, key: jax.Array, logdensity_fn: Callable[[PyTree], jax.Array], positions: PyTree
    ) -> tuple[PyTree, Metric]:
        """Return a position for each chain and one metric.

        Parameters
        ----------
        key
            For what is random in it.
        logdensity_fn
            Log density of one position.
        positions
            Where to search from, leaves ``(num_chains, ...)``.
        """
        ...


@pytree
@dataclasses.dataclass(frozen=True)
class Laplace:
    """Start from the normal distribution at the posterior's mode.

    For ``start`` of :func:`~parallel_mcmc.warmup.window_adaptation`. From the position of each
    chain BFGS looks for a mode, and Newton's method goes on from the best one. The first metric is
    the inverse of the Hessian there, and the chains start from draws of the normal distribution.
    It forms ``(D, D)`` matrices.

    Parameters
    ----------
    max_iterations
        Most steps of BFGS.

    Raises
    ------
    ValueError
        If ``max_iterations`` is not a positive integer. In the warmup, if no mode is found, or the
        posterior is not curved at it in every direction; for a posterior without one there is
        :class:`Pathfinder`.

    References
    ----------
    Tierney and Kadane, Journal of the American Statistical Association 81, 1986.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> from parallel_mcmc.warmup import Laplace, window_adaptation
    >>> scales = jnp.array([0.1, 10.0])
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum((x / scales) ** 2), 0.3)
    >>> far = 10 * scales
    >>> warmup = window_adaptation(
    ...     jax.random.key(0), kernel, far, 100, dense=False, start=Laplace(), keep_draws=True
    ... )
    >>> bool((jnp.abs(warmup.draws.position[0, 0] / scales) < 4).all())
    True
    """

    max_iterations: int = dataclasses.field(default=200, metadata=STATIC)

    def __post_init__(self) -> None:
        require_positive_int("max_iterations", self.max_iterations)

    def approximate(
        self, key: jax.Array, logdensity_fn: Callable[[PyTree], jax.Array], positions: PyTree
    ) -> tuple[PyTree, Metric]:
        """Return draws of the normal distribution, one a chain, and its covariance."""
        draws, covariance, distance = _laplace(
            key, as_partial(logdensity_fn), positions, self.max_iterations
        )
        if not any_traced(distance):
            # In standard deviations; NaN where the Hessian has no Cholesky factor.
            if not (distance < 0.1 and _is_finite(draws)):
                raise ValueError(
                    "start=Laplace() found no mode of the posterior, curved in every direction, "
                    "from initial_position: try other positions, more max_iterations or "
                    "start=Pathfinder()"
                )
        return draws, metric(covariance)


@pytree
@dataclasses.dataclass(frozen=True)
class Pathfinder:
    """Start from the best normal approximation along a path of L-BFGS.

    For ``start`` of :func:`~parallel_mcmc.warmup.window_adaptation`. From the position of
    each chain a path is followed by BlackJAX's Pathfinder. Of the approximations of all paths the
    one with the largest evidence lower bound counts: the chains start from its draws, and the first
    metric is its covariance. It forms one ``(D, D)`` matrix.

    Parameters
    ----------
    max_iterations
        Most steps of L-BFGS.
    num_draws
        Draws by which the evidence lower bound is estimated.

    Raises
    ------
    ValueError
        If an argument is not a positive integer. In the warmup, if no path leads to a
        finite evidence lower bound.

    References
    ----------
    Zhang, Carpenter, Gelman and Vehtari, Pathfinder: parallel quasi-Newton variational inference,
    JMLR 23, 2022, arXiv 2108.03782.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> from parallel_mcmc.warmup import Pathfinder, window_adaptation
    >>> kernel = pmc.mala(lambda x: -jnp.sum(jnp.cosh(x)), 0.3)
    >>> warmup = window_adaptation(
    ...     jax.random.key(0), kernel, jnp.full(3, 5.0), 100, start=Pathfinder()
    ... )
    >>> warmup.inverse_mass_matrix.shape
    (3, 3)
    """

    max_iterations: int = dataclasses.field(default=100, metadata=STATIC)
    num_draws: int = dataclasses.field(default=200, metadata=STATIC)

    def __post_init__(self) -> None:
        require_positive_int("max_iterations", self.max_iterations)
        require_positive_int("num_draws", self.num_draws)

    def approximate(
        self, key: jax.Array, logdensity_fn: Callable[[PyTree], jax.Array], positions: PyTree
    ) -> tuple[PyTree, Metric]:
        """Return draws of the best approximation, one a chain, and its covariance."""
        draws, covariance, bound = _pathfinder(
            key, as_partial(logdensity_fn), positions, self.max_iterations, self.num_draws
        )
        if not any_traced(bound) and not _is_finite((draws, covariance, bound)):
            raise ValueError(
                "start=Pathfinder() found no approximation of the posterior from "
                "initial_position: try other positions"
            )
        return draws, metric(covariance)


@partial(jax.jit, static_argnames="max_iterations")
@full_precision()
def _laplace(
    key: jax.Array, logdensity_fn: Callable, positions: PyTree, max_iterations: int
) -> tuple[PyTree, jax.Array, jax.Array]:
    """Return draws, their covariance, and how far the mode is from where the search ended."""
    rows = jax.vmap(lambda position: ravel_pytree(position)[0])(positions)
    unravel = ravel_pytree(at(positions, 0))[1]

    def energy(q: jax.Array) -> jax.Array:
        return -logdensity_fn(unravel(q))

    def search(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        options = {"maxiter": max_iterations}
        found = minimize(lambda q: energy(q).astype(q.dtype), q, method="BFGS", options=options)
        return found.x, found.fun

    def newton(_: int, q: jax.Array) -> jax.Array:
        moved = q - jnp.linalg.solve(jax.hessian(energy)(q), jax.grad(energy)(q))
        return jnp.where(energy(moved) < energy(q), moved, q)

    ends, energies = jax.vmap(search)(rows)
    best = jnp.argmin(jnp.where(jnp.isfinite(energies), energies, jnp.inf))
    mode = jax.lax.fori_loop(0, NEWTON_STEPS, newton, ends[best])
    covariance = jnp.linalg.inv(jax.hessian(energy)(mode))
    covariance = 0.5 * (covariance + covariance.T)
    factor = jnp.linalg.cholesky(covariance)
    noise = jax.random.normal(key, rows.shape, rows.dtype)
    draws = mode + jnp.matmul(noise, factor.T, precision="highest")
    distance = jnp.linalg.norm(jnp.matmul(factor.T, jax.grad(energy)(mode), precision="highest"))
    return jax.vmap(unravel)(draws), covariance, distance


@partial(jax.jit, static_argnames=("max_iterations", "num_draws"))
@full_precision()
def _pathfinder(
    key: jax.Array, logdensity_fn: Callable, positions: PyTree, max_iterations: int, num_draws: int
) -> tuple[PyTree, jax.Array, jax.Array]:
    """Return draws of the best approximation, its covariance and its evidence lower bound."""
    from blackjax.vi import pathfinder

    num_chains = len(jax.tree.leaves(positions)[0])
    *path_keys, draw_key = jax.random.split(key, num_chains + 1)

    def follow(key: jax.Array, position: PyTree) -> Any:
        return pathfinder.approximate(
            key, logdensity_fn, position, num_draws, maxiter=max_iterations
        )[0]

    paths = jax.vmap(follow)(jnp.stack(path_keys), positions)
    best = at(paths, jnp.argmax(jnp.where(jnp.isfinite(paths.elbo), paths.elbo, -jnp.inf)))
    low_rank = jnp.linalg.multi_dot([best.beta, best.gamma, best.beta.T], precision="highest")
    covariance = jnp.diag(best.alpha) + 0.5 * (low_rank + low_rank.T)
    draws: Any = pathfinder.sample(draw_key, best, num_chains)
    return draws[0], covariance, best.elbo


def _is_finite(tree: PyTree) -> bool:
    return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))
