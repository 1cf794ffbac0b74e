import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.linearisation import linearised, sign_bits, signs_of
from parallel_mcmc.solver.recurrence import plain_recurrence
from parallel_mcmc.solver.strides import strided

DIM = 3


def step(x, u):
    return jnp.sin(x) * jnp.roll(x, 1) + u


def whole(jvp, x):
    return jax.vmap(jvp)(jnp.eye(len(x), dtype=x.dtype)).T


# One batch, several blocks, and a number of steps that no block divides.
@pytest.mark.parametrize("length", [7, 1024, 521])
def test_every_step_is_evaluated_with_its_derivative(length, x64):
    x, u = np.random.default_rng(0).normal(size=(2, length, DIM))
    values, aux, matrices = linearised(plain_recurrence(step), whole, x, u)
    assert aux == ()
    np.testing.assert_allclose(values, jax.vmap(step)(x, u), rtol=1e-14)
    np.testing.assert_allclose(matrices, jax.vmap(jax.jacfwd(step))(x, u), rtol=1e-13, atol=1e-15)


def test_what_is_read_may_depend_on_more(x64):
    x, u, weight = np.random.default_rng(0).normal(size=(3, 5, DIM))
    product = linearised(plain_recurrence(step), lambda jvp, x, w: jvp(w), x, u, weight)[2]
    jacobians = jax.vmap(jax.jacfwd(step))(x, u)
    np.testing.assert_allclose(product, np.einsum("tij,tj->ti", jacobians, weight), rtol=1e-12)


def test_a_stride_is_one_step(x64):
    x = np.random.default_rng(0).normal(size=(4, DIM))
    bundles = np.random.default_rng(1).normal(size=(4, 2, DIM))
    values, _, matrices = linearised(strided(plain_recurrence(step), 2), whole, x, bundles)

    def both(x, bundle):
        return step(step(x, bundle[0]), bundle[1])

    np.testing.assert_allclose(values, jax.vmap(both)(x, bundles), rtol=1e-13)
    np.testing.assert_allclose(
        matrices, jax.vmap(jax.jacfwd(both))(x, bundles), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("dim", [1, 32, 33, 100])
def test_signs_are_of_both_kinds_and_independent(dim):
    signs = np.asarray(signs_of(sign_bits(jax.random.key(0), (400, 2), dim), dim, jnp.float32))
    assert signs.shape == (400, 2, dim)
    assert set(signs.flat) == {-1.0, 1.0}
    # Six standard errors of a mean, and of a correlation.
    assert np.abs(signs.mean()) < 6 / np.sqrt(signs.size)
    assert np.abs((signs[:, 0] * signs[:, 1]).mean()) < 6 / np.sqrt(400 * dim)
