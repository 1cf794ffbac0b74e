"""Posteriors of posteriordb as NumPyro models, and their reference draws' summaries.

Every model follows the words in the field ``model`` of the posterior's file in
``tests/data/posteriordb``. Sites are named as there; data are arguments by their names there.
"""

import json
import pathlib
from typing import NamedTuple

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

from parallel_mcmc.models import eight_schools
from parallel_mcmc.numpyro import HMC, MCMC
from validation.statistic import deviations

NUM_CHAINS = 4
NUM_WARMUP = NUM_SAMPLES = 1000
FAR = 10
"""How far off a bad start is, in posterior standard deviations of every coordinate."""
DIRECTORY = pathlib.Path(__file__).parents[1] / "data" / "posteriordb"


def flat(name, support=constraints.real, shape=()):
    """Return a parameter whose prior is constant on its support."""
    return numpyro.sample(name, dist.ImproperUniform(support, (), shape))


def regression(columns, y):
    """Regress linearly on the columns, with flat priors of the coefficients."""
    beta = flat("beta", shape=(len(columns),))
    sigma = flat("sigma", constraints.positive)
    mean = jnp.stack(columns, axis=1) @ beta
    numpyro.sample("y", dist.Normal(mean, sigma).to_event(1), obs=y)


def schools(y, sigma, J):
    eight_schools(sigma, y)


def kidscore_momiq(kid_score, mom_iq, **unused):
    beta = flat("beta", shape=(2,))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    mean = beta[0] + beta[1] * mom_iq
    numpyro.sample("kid_score", dist.Normal(mean, sigma).to_event(1), obs=kid_score)


def autoregression(y, K, T):
    alpha = numpyro.sample("alpha", dist.Normal(0, 10))
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([K]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    lagged = jnp.stack([y[K - k : T - k] for k in range(1, K + 1)], axis=1)
    numpyro.sample("y", dist.Normal(alpha + lagged @ beta, sigma).to_event(1), obs=y[K:])


def logmesquite_logvas(weight, diam1, diam2, canopy_height, total_height, density, group, N):
    columns = [
        jnp.ones(N),
        jnp.log(diam1 * diam2 * canopy_height),
        jnp.log(diam1 * diam2),
        jnp.log(diam1 / diam2),
        jnp.log(total_height),
        jnp.log(density),
        group,
    ]
    regression(columns, jnp.log(weight))


def nes(partyid7, real_ideo, race_adj, age_discrete, educ1, gender, income, N, **unused):
    ages = [jnp.where(age_discrete == group, 1.0, 0.0) for group in (2, 3, 4)]
    regression([jnp.ones(N), real_ideo, race_adj, *ages, educ1, gender, income], partyid7)


def logearn_interaction(earn, height, male, N):
    regression([jnp.ones(N), height, male, height * male], jnp.log(earn))


def gp_regression(x, y, N, **unused):
    rho = numpyro.sample("rho", dist.Gamma(25, 4))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    kernel = alpha**2 * jnp.exp(-((x[:, None] - x) ** 2) / (2 * rho**2))
    covariance = kernel + sigma * jnp.eye(N)
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(N), covariance), obs=y)


def blr(X, y, D, N):
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([D]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10))
    numpyro.sample("y", dist.Normal(X @ beta, sigma).to_event(1), obs=y)


def garch11(y, T, sigma1):
    mu = flat("mu")
    alpha0 = flat("alpha0", constraints.positive)
    # Three shares of 1, uniform: the third is what alpha1 and beta1 leave.
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))
    alpha1 = numpyro.deterministic("alpha1", shares[0])
    beta1 = numpyro.deterministic("beta1", shares[1])

    def recursion(s, last):
        s = jnp.sqrt(alpha0 + alpha1 * (last - mu) ** 2 + beta1 * s**2)
        return s, s

    first = jnp.asarray(sigma1, mu.dtype)
    later = jax.lax.scan(recursion, first, y[:-1])[1]
    scale = jnp.concatenate([first[None], later])
    numpyro.sample("y", dist.Normal(mu, scale).to_event(1), obs=y)


MODELS = {
    "eight_schools-eight_schools_noncentered": schools,
    "kidiq-kidscore_momiq": kidscore_momiq,
    "arK-arK": autoregression,
    "mesquite-logmesquite_logvas": logmesquite_logvas,
    "nes1996-nes": nes,
    "earnings-logearn_interaction": logearn_interaction,
    "gp_pois_regr-gp_regr": gp_regression,
    "sblri-blr": blr,
    "garch-garch11": garch11,
}


def load(name):
    """Return the data and the reference of a posterior.

    The data are a dictionary of float arrays, and of numbers as they are. The reference is a
    dictionary of statistics, each a dictionary from parameters to values.
    """
    content = json.loads((DIRECTORY / f"{name}.json").read_text())
    data = {
        key: np.asarray(value, float) if isinstance(value, list) else value
        for key, value in content["data"].items()
    }
    return data, content["reference"]


def parameters(samples, names):
    """Return the draws of the parameters that a reference names, ``(chains, draws)`` each.

    ``beta[2]`` is the second entry of the site ``beta``.
    """

    def draws(name):
        site, _, index = name.partition("[")
        values = np.asarray(samples[site])
        return values[..., int(index.rstrip("]")) - 1] if index else values

    return {name: draws(name) for name in names}


class Report(NamedTuple):
    """What a run is judged by."""

    rhat: float
    """The largest of all parameters."""
    ess_bulk: float
    """The smallest of all parameters."""
    ess_tail: float
    """The smallest of all parameters."""
    deviations: dict
    """Of every statistic from its reference, in Monte Carlo standard errors of both."""
    divergences: int
    num_steps: float
    """Leapfrog steps of a transition."""


class Posterior:
    """A posterior with the sampler at its defaults, compiled once for all its runs."""

    def __init__(self, name):
        self.data, self.reference = load(name)
        self.mcmc = MCMC(
            HMC(MODELS[name]),
            num_warmup=NUM_WARMUP,
            num_samples=NUM_SAMPLES,
            num_chains=NUM_CHAINS,
            progress_bar=False,
        )

    def run(self, seed, init_params=None):
        """Run the chains, warmup included, and return the report."""
        self.mcmc.post_warmup_state = None
        fields = ["num_steps", "diverging"]
        self.mcmc.run(
            jax.random.key(seed), **self.data, extra_fields=fields, init_params=init_params
        )
        draws = parameters(self.mcmc.get_samples(group_by_chain=True), list(self.reference["mean"]))
        extra = self.mcmc.get_extra_fields()
        return Report(
            max(float(az.rhat(x)) for x in draws.values()),
            min(float(az.ess(x, method="bulk")) for x in draws.values()),
            min(float(az.ess(x, method="tail")) for x in draws.values()),
            deviations(draws, self.reference),
            int(np.sum(extra["diverging"])),
            float(np.mean(extra["num_steps"])),
        )

    def far_positions(self, seed):
        """Return initial positions ``FAR`` standard deviations off in every coordinate, by sign.

        Means and standard deviations are those of the last run, of unconstrained coordinates.
        """
        rng = np.random.default_rng(seed)

        def far(draws):
            signs = rng.choice([-1.0, 1.0], size=(NUM_CHAINS, *draws.shape[2:]))
            return draws.mean((0, 1)) + FAR * draws.std((0, 1)) * signs

        return jax.tree.map(far, self.mcmc.samples.position)
