"""Every kernel on two targets: what the contract tests run over."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri

import parallel_mcmc as pmc
from parallel_mcmc.data import load_eight_schools

DIM = 10


def covariance():
    """Return a covariance matrix with correlations up to 0.8."""
    index = np.arange(DIM)
    scale = 1 + index / 5
    return 0.8 ** np.abs(index[:, None] - index) * scale[:, None] * scale


MEAN = np.linspace(-1, 1, DIM)


def gaussian(x):
    """Return the log density of ``N(MEAN, covariance())``."""
    d = x - MEAN
    return -0.5 * d @ jnp.asarray(np.linalg.inv(covariance())) @ d


def schools(q):
    """Return the log density of the eight schools, non-centred, over mu, log tau and theta."""
    y, sigma = (jnp.asarray(a) for a in load_eight_schools())
    mu, log_tau, theta = q[0], q[1], q[2:]
    tau = jnp.exp(log_tau)
    prior = -0.5 * (mu / 5) ** 2 - jnp.log1p((tau / 5) ** 2) + log_tau - 0.5 * jnp.sum(theta**2)
    return prior - 0.5 * jnp.sum(((y - mu - tau * theta) / sigma) ** 2)


def gaussian_gibbs(blocks=5):
    """Update blocks of two coordinates, each given all others."""
    precision = np.linalg.inv(covariance())
    conditionals = []
    for block in np.split(np.arange(DIM), blocks):
        others = np.setdiff1d(np.arange(DIM), block)
        own = np.linalg.inv(precision[np.ix_(block, block)])
        gain = jnp.asarray(-own @ precision[np.ix_(block, others)])
        factor = jnp.asarray(np.linalg.cholesky(own))

        def update(x, z, block=block, others=others, gain=gain, factor=factor):
            mean = MEAN[block] + gain @ (x[others] - MEAN[others])
            return x.at[block].set(mean + factor @ z)

        conditionals.append(update)
    return pmc.gibbs(conditionals, lambda key: tuple(jax.random.normal(key, (blocks, 2))))


def schools_gibbs():
    """Update theta, mu, tau and the scale that makes tau's half-Cauchy prior half-normal."""
    y, sigma = (jnp.asarray(a) for a in load_eight_schools())

    def normal(precision, weighted, z):
        return weighted / precision + z / jnp.sqrt(precision)

    def update_theta(q, z):
        tau = jnp.exp(q["log_tau"])
        precision = 1 + (tau / sigma) ** 2
        return {**q, "theta": normal(precision, tau * (y - q["mu"]) / sigma**2, z)}

    def update_mu(q, z):
        rest = y - jnp.exp(q["log_tau"]) * q["theta"]
        precision = 1 / 25 + jnp.sum(1 / sigma**2)
        return {**q, "mu": normal(precision, jnp.sum(rest / sigma**2), z)}

    def update_tau(q, u):
        # A normal distribution cut off at zero, by its inverse distribution function.
        precision = jnp.exp(-q["log_spread"]) / 25 + jnp.sum((q["theta"] / sigma) ** 2)
        mean = jnp.sum(q["theta"] * (y - q["mu"]) / sigma**2) / precision
        sd = 1 / jnp.sqrt(precision)
        above = (1 - u) * ndtr(mean / sd)
        return {**q, "log_tau": jnp.log(mean - sd * ndtri(above))}

    def update_spread(q, e):
        return {**q, "log_spread": jnp.log(0.5 + jnp.exp(2 * q["log_tau"]) / 50) - jnp.log(e)}

    def draw(key):
        a, b, c, d = jax.random.split(key, 4)
        z, mu = jax.random.normal(a, (8,)), jax.random.normal(b)
        return z, mu, jax.random.uniform(c, minval=1e-12), jax.random.exponential(d)

    return pmc.gibbs([update_theta, update_mu, update_tau, update_spread], draw)


def metric_kernels(logdensity, metric):
    """Return every kernel that a metric whitens, and a cycle of two."""
    return {
        "rmh": pmc.rmh(logdensity, 0.7, metric),
        "mala": pmc.mala(logdensity, 0.25, metric),
        "ula": pmc.ula(logdensity, 0.1, metric),
        "hmc": pmc.hmc(logdensity, 0.3, metric, 4),
        "jittered hmc": pmc.hmc(logdensity, 0.3, metric, pmc.UniformSteps(2, 6)),
        "underdamped": pmc.underdamped_langevin(logdensity, 0.3, 1.0, metric),
        "mclmc": pmc.mclmc(logdensity, 2.0, 0.5, metric),
        "adjusted mclmc": pmc.adjusted_mclmc(logdensity, 1.0, metric, 4),
        "barker": pmc.barker(logdensity, 0.6, metric),
        "cycle": pmc.cycle(
            [pmc.hmc(logdensity, 0.3, metric, 3), pmc.mala(logdensity, 0.2, metric)]
        ),
    }


def gaussian_cases():
    """Return pairs of kernel and initial position, by name."""
    start = jnp.asarray(MEAN)
    kernels = metric_kernels(gaussian, covariance()) | {"gibbs": gaussian_gibbs()}
    return {name: (kernel, start) for name, kernel in kernels.items()}


def schools_cases():
    """Return pairs of kernel and initial position, by name."""
    start = jnp.zeros(10).at[:2].set(jnp.array([4.4, 1.0]))
    # Posterior variances, rounded.
    variance = np.array([11.0, 1.3] + [0.9] * 8)
    cases = {name: (k, start) for name, k in metric_kernels(schools, variance).items()}
    scalar = {"mu": jnp.array(4.4), "log_tau": jnp.array(1.0), "log_spread": jnp.array(0.0)}
    cases["gibbs"] = (schools_gibbs(), scalar | {"theta": jnp.zeros(8)})
    return cases


NAMES = [
    "rmh",
    "mala",
    "ula",
    "hmc",
    "jittered hmc",
    "underdamped",
    "mclmc",
    "adjusted mclmc",
    "barker",
    "cycle",
    "gibbs",
]
