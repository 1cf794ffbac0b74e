"""Log densities that several of these programs draw from, without constants."""

import jax
import jax.numpy as jnp

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
