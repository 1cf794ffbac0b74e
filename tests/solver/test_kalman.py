import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.kalman import dense_smoother, diagonal_smoother
from parallel_mcmc.solver.scans import dense_scan


def least_squares(a, b, weight):
    """The same problem as one matrix."""
    length, dim = b.shape
    system = np.eye(length * dim)
    for t in range(1, length):
        rows, columns = slice(t * dim, (t + 1) * dim), slice((t - 1) * dim, t * dim)
        system[rows, columns] = -a[t]
    rows = np.concatenate([system, np.sqrt(weight) * np.eye(length * dim)])
    right = np.concatenate([b.ravel(), np.zeros(length * dim)])
    return np.linalg.lstsq(rows, right, rcond=None)[0].reshape(b.shape)


@pytest.mark.parametrize("weight", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("length", [1, 2, 13])
def test_the_least_squares_solution(x64, length, weight):
    rng = np.random.default_rng(length)
    a, b = rng.normal(size=(length, 3, 3)), rng.normal(size=(length, 3))
    z = dense_smoother(jnp.asarray(a), jnp.asarray(b), weight)
    np.testing.assert_allclose(z, least_squares(a, b, weight), atol=1e-9)
    diagonal = np.diagonal(a, axis1=1, axis2=2)
    matrices = diagonal[:, :, None] * np.eye(3)
    z = diagonal_smoother(jnp.asarray(diagonal), jnp.asarray(b), weight)
    np.testing.assert_allclose(z, least_squares(matrices, b, weight), atol=1e-9)


@pytest.mark.slow
def test_a_small_weight_gives_newtons_step(x64):
    rng = np.random.default_rng(0)
    a, b = jnp.asarray(rng.normal(size=(20, 2, 2)) / 2), jnp.asarray(rng.normal(size=(20, 2)))
    np.testing.assert_allclose(dense_smoother(a, b, 1e-10), dense_scan(a, b), atol=1e-6)


@pytest.mark.slow
def test_an_expanding_recurrence_stays_bounded():
    z = diagonal_smoother(jnp.full((1000, 1), 3.0), jnp.ones((1000, 1)), 0.1)
    assert jnp.abs(z).max() < 1
