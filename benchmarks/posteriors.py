"""Posteriors that several of these programs draw from; log densities are without constants."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from german_credit import log1pexp, whitened_posterior

import parallel_mcmc as pmc
from parallel_mcmc.data import load_eight_schools


def eight_schools(mu, log_tau, theta):
    """The eight schools, non-centred: mu ~ N(0, 5²), tau ~ half-Cauchy(5), theta ~ N(0, 1)."""
    y, sigma = load_eight_schools()
    tau = jnp.exp(log_tau)
    prior = -0.5 * (mu / 5) ** 2 - jnp.log1p((tau / 5) ** 2) - 0.5 * jnp.sum(theta**2)
    return prior + log_tau - 0.5 * jnp.sum(((y - mu - tau * theta) / sigma) ** 2)


def banana(x):
    """The banana of arXiv 2508.18413: x1 ~ N(0, 10²), x2 | x1 ~ N(0.03 (x1² - 100), 1)."""
    return -0.5 * (x[0] / 10) ** 2 - 0.5 * (x[1] - 0.03 * (x[0] ** 2 - 100)) ** 2


def mixture(x):
    """Four unit Gaussians at (±2, ±2), as in arXiv 2508.18413."""
    means = jnp.array([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]])
    return jax.scipy.special.logsumexp(-0.5 * jnp.sum((x - means) ** 2, axis=1))


class Problem(NamedTuple):
    """A posterior, in coordinates where its scale is about 1."""

    logdensity: Callable[[jax.Array], jax.Array]
    dim: int
    num_samples: int
    mala_step_size: float
    hmc_step_size: float
    num_integration_steps: int

    def kernel(self, kind: str, package: Any = pmc) -> Any:
        """Return MALA or HMC with the identity for a metric, of this package or of BlackJAX."""
        if kind == "MALA":
            return package.mala(self.logdensity, self.mala_step_size)
        identity = jnp.ones(self.dim)
        return package.hmc(
            self.logdensity, self.hmc_step_size, identity, self.num_integration_steps
        )


def regression(rows: int, dim: int, logistic: bool, num_samples: int) -> Problem:
    """Return a regression on synthetic data, whitened by the Laplace covariance."""
    rng = np.random.default_rng(0)
    design = rng.standard_normal((rows, dim))
    design[:, 0] = 1
    truth = 0.3 * rng.standard_normal(dim)
    linear = design @ truth
    if logistic:
        outcome = rng.random(rows) < 1 / (1 + np.exp(-linear))
    else:
        outcome = linear + rng.standard_normal(rows)
    outcome = outcome.astype(float)
    mode = np.zeros(dim)
    for _ in range(8 if logistic else 1):
        mean = 1 / (1 + np.exp(-design @ mode)) if logistic else design @ mode
        weight = mean * (1 - mean) if logistic else np.ones(rows)
        precision = (design.T * weight) @ design + np.eye(dim)
        mode = mode + np.linalg.solve(precision, design.T @ (outcome - mean) - mode)
    X, y, mode = jnp.asarray(design), jnp.asarray(outcome), jnp.asarray(mode)
    factor = jnp.asarray(np.linalg.cholesky(np.linalg.inv(precision)))

    def logdensity(w):
        q = mode + factor @ w
        mean = X @ q
        if logistic:
            likelihood = jnp.sum(y * mean - log1pexp(mean))
        else:
            likelihood = -0.5 * jnp.sum((y - mean) ** 2)
        return likelihood - 0.5 * jnp.sum(q**2)

    return Problem(logdensity, dim, num_samples, 0.15, 0.3, 5)


def german_credit() -> Problem:
    """Return the German credit posterior."""
    return Problem(*whitened_posterior(), 8192, 0.3, 0.3, 5)


def schools() -> Problem:
    """Return the eight schools, non-centred, in units of their standard deviations."""
    sd = jnp.sqrt(jnp.array([20.0, 1.2, *[0.9] * 8]))

    def logdensity(w):
        q = sd * w
        return eight_schools(q[0], q[1], q[2:])

    return Problem(logdensity, 10, 16384, 0.1, 0.25, 8)


def gaussian() -> Problem:
    """Return a normal distribution of 100 coordinates with correlation 0.9 between neighbours."""
    index = np.arange(100)
    covariance = 0.9 ** np.abs(index[:, None] - index)
    precision = jnp.asarray(np.linalg.inv(covariance))
    factor = jnp.asarray(np.linalg.cholesky(covariance))

    def logdensity(w):
        q = factor @ w
        return -0.5 * q @ (precision @ q)

    return Problem(logdensity, 100, 2048, 0.15, 0.3, 5)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "german credit": german_credit,
    "eight schools": schools,
    "banana": lambda: Problem(banana, 2, 8192, 0.2, 0.5, 8),
    "mixture": lambda: Problem(mixture, 2, 8192, 0.5, 0.5, 5),
    "gaussian 100-D": gaussian,
    "logistic 50,000 x 100": lambda: regression(50_000, 100, True, 512),
    "linear 200,000 x 50": lambda: regression(200_000, 50, False, 512),
}
