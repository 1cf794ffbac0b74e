"""A metric from positions and gradients, good before the chains have reached the posterior.

Of all Gaussians, the one whose score is closest to the gradients seen at the positions seen has as
its covariance the geometric mean of the positions' covariance ``C`` and of the inverse of the
gradients' covariance ``G``: the matrix ``M`` with ``M C^-1 M = G^-1``. On a Gaussian posterior it
is the posterior's covariance, whichever positions were seen, while ``C`` is that only once they
are draws.

References
----------
Seyboldt, Carlson and Carpenter, Preconditioning Hamiltonian Monte Carlo by minimizing Fisher
divergence, arXiv 2603.18845.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from parallel_mcmc.warmup import welford
from parallel_mcmc.warmup.welford import Welford


def estimate(positions: Welford, gradients: Welford, structure: jax.Array | None) -> jax.Array:
    """Return the inverse mass matrix of least Fisher divergence, ``(D,)`` or ``(D, D)``.

    Parameters
    ----------
    positions, gradients
        Moments of as many positions, and of the gradients of the log density there.
    structure
        Which entries of a dense metric may differ from 0, in blocks; None for all.
    """
    n = positions.count.astype(positions.scatter.dtype)
    # The covariance itself, but for the part that makes it positive definite.
    covariance = (n + 5) / n * welford.regularised(positions)
    scatter = welford.covariance(gradients)
    if covariance.ndim == 1:
        return covariance / jnp.sqrt(covariance * scatter + least(n))
    if structure is not None:
        covariance, scatter = (jnp.where(structure, m, 0) for m in (covariance, scatter))
    return geometric_mean(covariance, scatter, least(n))


def least(count: jax.Array) -> jax.Array:
    """Return what gradients that did not vary count with, in units that whiten the positions."""
    return 1e-3 * 5 / (count + 5)


def geometric_mean(covariance: jax.Array, scatter: jax.Array, least: jax.Array) -> jax.Array:
    """Return that of the positions' covariance and of the inverse of the gradients', ``(D, D)``."""
    factor = jnp.linalg.cholesky(covariance)
    # The gradients' covariance in coordinates that whiten the positions.
    whitened = jnp.linalg.multi_dot([factor.T, scatter, factor], precision="highest")
    values, vectors = jnp.linalg.eigh(whitened)
    root = (
        jnp.matmul(factor, vectors, precision="highest") / (jnp.maximum(values, 0) + least) ** 0.25
    )
    return jnp.matmul(root, root.T, precision="highest")
