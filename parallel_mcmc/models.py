"""NumPyro models of the data in :mod:`parallel_mcmc.data`.

The core of the package does not import this module, since it needs NumPyro.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.typing import ArrayLike

__all__ = ["eight_schools", "german_credit"]


def german_credit(X: ArrayLike, y: ArrayLike | None = None) -> None:
    """Logistic regression of the credit risk on all attributes.

    Parameters
    ----------
    X
        Standardised attributes, of shape ``(n, d)``.
    y
        Classes, 0 or 1, of shape ``(n,)``; None to sample them.

    Examples
    --------
    >>> import jax, numpyro
    >>> from parallel_mcmc.data import load_german_credit
    >>> from parallel_mcmc.models import german_credit
    >>> X, y, names = load_german_credit()
    >>> trace = numpyro.handlers.trace(numpyro.handlers.seed(german_credit, jax.random.key(0)))
    >>> {name: site["value"].shape for name, site in trace.get_trace(X, y).items()}
    {'alpha': (), 'beta': (20,), 'odds_ratio': (20,), 'y': (1000,)}
    """
    X = jnp.asarray(X)
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 2.5))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0).expand([X.shape[1]]).to_event(1))
    numpyro.deterministic("odds_ratio", jnp.exp(beta))
    numpyro.sample("y", dist.Bernoulli(logits=alpha + X @ beta).to_event(1), obs=y)


def eight_schools(sigma: ArrayLike, y: ArrayLike | None = None) -> None:
    """Hierarchical model of the eight schools, in its non-centred form.

    Parameters
    ----------
    sigma
        Standard errors of the effects, of shape ``(n,)``.
    y
        Estimated effects, of shape ``(n,)``; None to sample them.

    Examples
    --------
    >>> import jax, numpyro
    >>> from parallel_mcmc.data import load_eight_schools
    >>> from parallel_mcmc.models import eight_schools
    >>> y, sigma = load_eight_schools()
    >>> trace = numpyro.handlers.trace(numpyro.handlers.seed(eight_schools, jax.random.key(0)))
    >>> list(trace.get_trace(sigma, y))
    ['mu', 'tau', 'theta_base', 'theta', 'y']
    """
    sigma = jnp.asarray(sigma)
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    theta_base = numpyro.sample("theta_base", dist.Normal(0.0, 1.0).expand(sigma.shape).to_event(1))
    theta = numpyro.deterministic("theta", mu + tau * theta_base)
    numpyro.sample("y", dist.Normal(theta, sigma).to_event(1), obs=y)
