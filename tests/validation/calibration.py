"""Simulation-based calibration: a kernel against the prior and the likelihood.

A position is drawn from the prior and data from the likelihood; among the draws of the posterior
given these data, the position's rank is uniform (Talts et al., arXiv 1804.06788). The log density
is ranked too, since it sees errors of spread that no coordinate shows (Modrák et al., arXiv
2211.02383).
"""

from functools import partial

import jax
import jax.numpy as jnp

from parallel_mcmc.kernels.chain import Sequential

REPLICATIONS = 500
DRAWS = 99
BURN_IN = 10
"""Draws left out, of those that are kept by the thinning."""


@partial(jax.jit, static_argnames=("model", "build", "thinning", "runner", "replications"))
def ranks(key, model, build, *, thinning, runner=None, replications=REPLICATIONS):
    """Return the ranks of all coordinates and of the log density, ``(replications, D + 1)``.

    Parameters
    ----------
    key
        A key.
    model
        A :class:`Model`.
    build
        ``build(data)`` returns the kernel.
    thinning
        Transitions to one draw.
    runner
        How the chain is run; by default by the plain loop.
    replications
        How often to draw a position and data. All are run side by side.
    """
    runner = Sequential() if runner is None else runner

    def replicate(key):
        keys = jax.random.split(key, 4)
        truth = model.prior(keys[0])
        data = model.simulate(keys[1], truth)
        kernel = build(data)
        # Another draw of the prior: the chain has to find the posterior.
        state = kernel.init(model.prior(keys[2]))
        steps = jax.random.split(keys[3], (BURN_IN + DRAWS) * thinning)
        positions = runner.run(kernel, state, steps).states.position
        draws = positions[thinning - 1 :: thinning][BURN_IN:]

        def quantities(position):
            return jnp.append(position, model.logdensity(data, position))

        return jnp.sum(jax.vmap(quantities)(draws) < quantities(truth), axis=0)

    return jax.vmap(replicate)(jax.random.split(key, replications))
