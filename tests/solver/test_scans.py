import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.scans import dense_scan, diagonal_scan


def loop(apply, a, b):
    def body(z, ab):
        z = apply(ab[0], z) + ab[1]
        return z, z

    return jax.lax.scan(body, jnp.zeros_like(b[0]), (a, b))[1]


@pytest.mark.parametrize("length", [1, 2, 13, 64])
def test_diagonal_scan_equals_the_loop(x64, length):
    rng = np.random.default_rng(length)
    a, b = jnp.asarray(rng.normal(size=(2, length, 3)))
    np.testing.assert_allclose(diagonal_scan(a, b), loop(jnp.multiply, a, b), rtol=1e-11)


@pytest.mark.parametrize("length", [1, 2, 13, 64])
def test_dense_scan_equals_the_loop(x64, length):
    rng = np.random.default_rng(length)
    a = jnp.asarray(rng.normal(size=(length, 3, 3)) / 2)
    b = jnp.asarray(rng.normal(size=(length, 3)))
    np.testing.assert_allclose(dense_scan(a, b), loop(jnp.matmul, a, b), rtol=1e-9, atol=1e-11)


def test_one_factor_a_step_is_broadcast():
    b = jnp.ones((4, 2))
    np.testing.assert_array_equal(diagonal_scan(jnp.ones((4, 1)), b), np.cumsum(b, axis=0))
