"""Geweke's test of a kernel by the joint distribution of position and data.

One simulator draws the position from the prior and then data. The other one moves the position by
the kernel given the data, draws data given the position, and so on. Both have the same joint
distribution (Geweke, Getting it right, JASA 99, 2004), if the kernel keeps the posterior.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from validation.statistic import batch_means

CHAINS = 100
STEPS = 4000
BATCHES = 4
LEVEL = 1e-4
"""Probability that a correct kernel fails, all z-scores of a test together."""


def functions(data, position):
    """Return what is compared: moments of the position, and of it with the data."""
    mean, log_precision = position
    average, log_variance = jnp.mean(data), jnp.log(jnp.var(data))
    return jnp.stack(
        [
            mean,
            log_precision,
            mean**2,
            log_precision**2,
            mean * log_precision,
            mean * average,
            log_precision * log_variance,
            mean**2 * log_precision,
        ]
    )


@partial(jax.jit, static_argnames=("model", "build", "steps"))
def successive(key, model, build, steps=STEPS):
    """Return the functions along chains of the second simulator, ``(chains, steps, functions)``."""

    def chain(key):
        keys = jax.random.split(key, 3)
        position = model.prior(keys[0])
        data = model.simulate(keys[1], position)

        def step(now, key):
            data, position = now
            key_step, key_data = jax.random.split(key)
            kernel = build(data)
            draw = kernel.draw(key_step, position)
            position = kernel.step(kernel.init(position), draw)[0].position
            data = model.simulate(key_data, position)
            return (data, position), functions(data, position)

        return jax.lax.scan(step, (data, position), jax.random.split(keys[2], steps))[1]

    return jax.vmap(chain)(jax.random.split(key, CHAINS))


@partial(jax.jit, static_argnames=("model", "count"))
def marginal(key, model, count=CHAINS * STEPS):
    """Return the functions at independent draws of the first simulator, ``(count, functions)``."""

    def one(key):
        key_position, key_data = jax.random.split(key)
        position = model.prior(key_position)
        return functions(model.simulate(key_data, position), position)

    return jax.vmap(one)(jax.random.split(key, count))


def z_scores(key, model, build):
    """Return the differences of the two simulators' means in units of their standard errors."""
    key_first, key_second = jax.random.split(key)
    first = np.asarray(marginal(key_first, model))
    mean, error = batch_means(successive(key_second, model, build), BATCHES)
    own_error = first.std(0, ddof=1) / np.sqrt(len(first))
    return (mean - first.mean(0)) / np.hypot(error, own_error)
