"""Small Bayesian models: prior, data and posterior, each written out on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid
from jax.tree_util import Partial

import parallel_mcmc as pmc


class Model(NamedTuple):
    """A joint distribution of an unconstrained position, ``(D,)``, and data."""

    prior: Callable
    """``prior(key)`` draws a position."""
    simulate: Callable
    """``simulate(key, position)`` draws data."""
    logdensity: Callable
    """``logdensity(data, position)``, up to a constant."""
    covariance: Callable
    """``covariance(data)`` is about that of the posterior."""

    def posterior(self, data):
        return Partial(self.logdensity, data)


COUNT = 10
SHAPE, RATE = 3.0, 2.0


def _normal_prior(key):
    key_mean, key_precision = jax.random.split(key)
    precision = jax.random.gamma(key_precision, SHAPE, dtype=float) / RATE
    return jnp.stack([jax.random.normal(key_mean), jnp.log(precision)])


def _normal_data(key, position):
    mean, log_precision = position
    return mean + jnp.exp(-0.5 * log_precision) * jax.random.normal(key, (COUNT,))


def normal_without_jacobian(data, position):
    """Return the log density of the normal model but for the term of the logarithm."""
    mean, log_precision = position
    precision = jnp.exp(log_precision)
    prior = -0.5 * mean**2 + (SHAPE - 1) * log_precision - RATE * precision
    scatter = jnp.sum((data - mean) ** 2)
    return prior + 0.5 * COUNT * log_precision - 0.5 * precision * scatter


def _normal_logdensity(data, position):
    return normal_without_jacobian(data, position) + position[1]


def _normal_covariance(data):
    # The precision has a gamma posterior, near enough, and given it the mean a normal one.
    shape = SHAPE + 0.5 * COUNT
    precision = shape / (RATE + 0.5 * COUNT * jnp.var(data))
    return jnp.diag(jnp.stack([1 / (1 + COUNT * precision), 1 / shape]))


NORMAL = Model(_normal_prior, _normal_data, _normal_logdensity, _normal_covariance)
"""Normal data with a normal mean and a gamma precision; over the mean and the log precision."""


def normal_gibbs(data):
    """Return the Gibbs kernel of the normal model."""

    def update_mean(position, z):
        precision = jnp.exp(position[1])
        total = 1 + COUNT * precision
        return position.at[0].set(precision * jnp.sum(data) / total + z / jnp.sqrt(total))

    def update_precision(position, log_gamma):
        rate = RATE + 0.5 * jnp.sum((data - position[0]) ** 2)
        return position.at[1].set(log_gamma - jnp.log(rate))

    def draw(key):
        key_mean, key_precision = jax.random.split(key)
        shape = jnp.asarray(SHAPE + 0.5 * COUNT)
        return jax.random.normal(key_mean), jax.random.loggamma(key_precision, shape)

    return pmc.gibbs([update_mean, update_precision], draw)


SCHOOLS = 5
NOISE = 2.0
"""Standard error of every school's estimate."""


def _schools_prior(key):
    """Draw the mean, the logarithm of a half-normal scale, and the effects in its units."""
    z = jax.random.normal(key, (2 + SCHOOLS,))
    return z.at[1].set(jnp.log(jnp.abs(z[1])))


def _schools_data(key, position):
    effects = position[0] + jnp.exp(position[1]) * position[2:]
    return effects + NOISE * jax.random.normal(key, (SCHOOLS,))


def _schools_logdensity(data, position):
    mean, log_scale, effects = position[0], position[1], position[2:]
    scale = jnp.exp(log_scale)
    prior = -0.5 * (mean**2 + scale**2 + jnp.sum(effects**2)) + log_scale
    return prior - 0.5 * jnp.sum(((data - mean - scale * effects) / NOISE) ** 2)


def _schools_covariance(data):
    return jnp.diag(jnp.array([0.5, 1.0] + [0.9] * SCHOOLS))


HIERARCHICAL = Model(_schools_prior, _schools_data, _schools_logdensity, _schools_covariance)
"""The eight schools in small, non-centred: a hierarchical mean and scale, normal effects."""


DESIGN = np.random.default_rng(0).normal(size=(40, 3))
DESIGN[:, 0] = 1.0


def _logistic_data(key, position):
    return jax.random.bernoulli(key, jax.nn.sigmoid(DESIGN @ position)).astype(float)


def _logistic_logdensity(data, position):
    sign = 2 * data - 1
    return -0.5 * jnp.sum(position**2) + jnp.sum(log_sigmoid(sign * (DESIGN @ position)))


def _logistic_covariance(data):
    return jnp.asarray(np.linalg.inv(np.eye(3) + 0.15 * DESIGN.T @ DESIGN))


LOGISTIC = Model(
    lambda key: jax.random.normal(key, (3,)),
    _logistic_data,
    _logistic_logdensity,
    _logistic_covariance,
)
"""Logistic regression of 40 outcomes on two columns and an intercept."""

MODELS = {"normal": NORMAL, "hierarchical": HIERARCHICAL, "logistic": LOGISTIC}
