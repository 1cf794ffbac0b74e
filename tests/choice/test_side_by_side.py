import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.choice.side_by_side import guessed, side_by_side, starts_near


def test_chains_side_by_side_have_the_same_random_numbers(x64):
    """Those of the Langevin diffusion on a Gaussian shrink their distance by 1 - step size."""
    sd = jnp.array([1.0, 10.0])
    kernel = pmc.ula(lambda x: -0.5 * jnp.sum((x / sd) ** 2), 0.3, inverse_mass_matrix=sd**2)
    state = kernel.init(jnp.zeros(2))
    keys = jax.random.split(jax.random.key(0), 12)
    starts = starts_near(kernel, state, 5, 0)
    path, _ = side_by_side(kernel, state, starts, keys, 12)
    assert path.shape == (13, 5, 2)
    distances = path[:, 1:] - path[:, :1]
    np.testing.assert_allclose(distances[1:] / distances[:-1], 0.7, rtol=1e-9)
    # Each is the chain of the kernel.
    chain = kernel.init(path[0, 2] * sd)
    for key in keys:
        chain, _ = kernel.step(chain, kernel.draw(key))
    np.testing.assert_allclose(path[-1, 2] * sd, chain.position, rtol=1e-9)
    # Fewer steps are the first ones, and other seeds begin elsewhere.
    fewer, _ = side_by_side(kernel, state, starts, keys, 4)
    np.testing.assert_array_equal(fewer[:5], path[:5])
    assert (starts_near(kernel, state, 5, 1).position != starts.position).all()
    # Without a seed all begin at the state itself.
    np.testing.assert_array_equal(starts_near(kernel, state, 5).position, np.zeros((5, 2)))


def test_guesses_are_the_paths_of_a_gaussian(x64):
    kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.2)
    state = kernel.init(jnp.ones(5))
    keys = jax.random.split(jax.random.key(1), 40)
    starts = starts_near(kernel, state, 3, 0)
    path, _ = side_by_side(kernel, state, starts, keys, 40)
    np.testing.assert_allclose(guessed(kernel, state, starts, keys), path[1:], atol=1e-9)
