import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel


def test_windows_advance_chain_by_chain(x64):
    """In a batch every chain has the window, the iterations and the states that it has alone."""

    def logdensity(x):
        return -jnp.sum(jnp.log(jnp.cosh(x)))

    kernel = pmc.mala(logdensity, 0.2)
    # One chain starts at the mode, one far out.
    positions = jnp.array([[0.0, 0.0], [60.0, -60.0], [1.0, 2.0]])
    keys = jax.random.split(jax.random.key(0), (3, 300))
    states = jax.vmap(kernel.init)(positions)

    def run(state, keys):
        return Parallel(None, 16).run(kernel, state, keys)

    batch = jax.jit(jax.vmap(run))(states, keys)
    alone = jax.lax.map(lambda chain: run(*chain), (states, keys))
    np.testing.assert_array_equal(batch.stats.iterations, alone.stats.iterations)
    assert len(np.unique(batch.stats.iterations)) == 3
    np.testing.assert_array_equal(
        batch.stats.gradient_evaluations, alone.stats.gradient_evaluations
    )
    np.testing.assert_allclose(batch.states.position, alone.states.position, atol=1e-12)
    assert batch.stats.converged.all()
