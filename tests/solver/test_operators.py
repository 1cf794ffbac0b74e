import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.operators import (
    BlockOperator,
    DenseOperator,
    DiagonalOperator,
    ZeroOperator,
)

rng = np.random.default_rng(0)
MATRICES = rng.normal(size=(50, 6, 6)) * 10 ** rng.uniform(-6, 6, size=(50, 1, 1))
VECTORS = rng.normal(size=(50, 6))


def test_dense_norm_is_close_to_the_spectral_norm_and_never_above():
    exact = np.linalg.norm(MATRICES, ord=2, axis=(1, 2))
    ratio = np.asarray(DenseOperator(jnp.asarray(MATRICES, jnp.float32)).norm()) / exact
    assert ratio.max() < 1 + 1e-5
    assert ratio.min() > 0.97


def test_dense_norm_of_zero_and_rank_one_matrices():
    matrices = np.stack([np.zeros((3, 3)), np.outer([1, 0, 0], [0, 3, 4])])
    np.testing.assert_allclose(DenseOperator(jnp.asarray(matrices)).norm(), [0, 5], rtol=1e-6)


def test_diagonal_norm_is_that_of_the_matrix():
    diagonal = jnp.array([[1.0, -3.0], [0.5, 0.0]])
    np.testing.assert_array_equal(DiagonalOperator(diagonal).norm(), [3, 0.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_factor_zero_gives_zeros_even_for_non_finite_entries(bad):
    factor = jnp.array([0.0, 2.0])
    dense = DenseOperator(jnp.ones((2, 3, 3)).at[0, 1].set(bad)).scaled(factor)
    diagonal = DiagonalOperator(jnp.ones((2, 3)).at[0, 1].set(bad)).scaled(factor)
    for scaled in (dense.matrix, diagonal.diagonal):
        np.testing.assert_array_equal(scaled[0], 0)
        np.testing.assert_array_equal(scaled[1], 2)


def test_apply_rescaled_and_scan_agree_with_numpy(x64):
    scale = np.exp(rng.normal(size=6))
    matrices = MATRICES[:4]
    operator = DenseOperator(jnp.asarray(matrices))
    v = jnp.asarray(VECTORS[:4])
    np.testing.assert_allclose(operator.apply(v), np.einsum("tij,tj->ti", matrices, v), rtol=1e-10)
    expected = np.diag(1 / scale) @ matrices @ np.diag(scale)
    np.testing.assert_allclose(operator.rescaled(jnp.asarray(scale)).matrix, expected, rtol=1e-12)
    second = matrices[1] @ v[0] + v[1]
    np.testing.assert_allclose(operator.scan(v)[1], second, rtol=1e-9)


def test_diagonal_block_and_zero_operators():
    v = jnp.asarray(VECTORS, jnp.float32)
    diagonal = DiagonalOperator(jnp.full((50, 1), 0.5))
    np.testing.assert_array_equal(diagonal.apply(v), 0.5 * v)
    assert diagonal.rescaled(jnp.arange(1.0, 7.0)) is diagonal
    blocks = BlockOperator(jnp.ones((50, 2, 2, 3)))
    assert blocks.rescaled(jnp.full(1, 2.0)) is blocks
    zero = ZeroOperator(50)
    np.testing.assert_array_equal(zero.apply(v), 0)
    np.testing.assert_array_equal(zero.scan(v), v)
    np.testing.assert_array_equal(zero.norm(), np.zeros(50))
    assert zero.scaled(jnp.full(50, 2.0)).rescaled(v[0]) is zero


@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_steady_takes_the_mean_at_every_step(x64, length):
    b = jnp.asarray(VECTORS[:length])
    operators = [
        DenseOperator(jnp.asarray(MATRICES[:length]) / 4),
        DiagonalOperator(jnp.asarray(VECTORS[-length:]) / 2),
        BlockOperator(jnp.asarray(rng.normal(size=(length, 2, 2, 3))) / 2),
        BlockOperator(jnp.asarray(rng.normal(size=(length, 2, 2, 1))) / 2),
    ]
    for operator in operators:
        mean = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf.mean(0), leaf.shape), operator)
        np.testing.assert_allclose(operator.steady(b), mean.scan(b), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(ZeroOperator(length).steady(b), b)


@pytest.mark.slow
def test_growth_is_that_of_the_product(x64):
    matrices = MATRICES[:10] / np.linalg.norm(MATRICES[:10], axis=(1, 2), keepdims=True)
    product = np.linalg.multi_dot(matrices[::-1])
    growth = DenseOperator(jnp.asarray(matrices)).growth(jnp.ones(10, bool))
    expected = np.log(np.linalg.norm(product) / np.sqrt(6)) / 10
    np.testing.assert_allclose(growth, expected, rtol=1e-9)
    neutral = DenseOperator(jnp.broadcast_to(jnp.eye(6), (10, 6, 6))).growth(jnp.ones(10, bool))
    np.testing.assert_allclose(neutral, 0, atol=1e-12)
    diagonal = jnp.array([[2.0, 0.5], [2.0, 0.5]])
    np.testing.assert_allclose(
        DiagonalOperator(diagonal).growth(jnp.ones(2, bool)), np.log(2), rtol=1e-6
    )
    blocks = jnp.stack([jnp.diag(row)[:, :, None] for row in diagonal])
    expected = DenseOperator(blocks[..., 0]).growth(jnp.ones(2, bool))
    np.testing.assert_allclose(BlockOperator(blocks).growth(jnp.ones(2, bool)), expected, rtol=1e-6)
    assert np.isneginf(ZeroOperator(2).growth(jnp.ones(2, bool)))


def test_growth_is_that_of_the_steps_that_are_known(x64):
    known = jnp.array([True, False, True, True])
    diagonal = jnp.array([[2.0, 0.5], [0.0, 0.0], [2.0, 0.5], [2.0, 0.5]])
    dense = jax.vmap(jnp.diag)(diagonal)
    np.testing.assert_allclose(DiagonalOperator(diagonal).growth(known), np.log(2))
    growth = 0.5 * (np.log(2.0**6 + 2.0**-6) - np.log(2)) / 3
    np.testing.assert_allclose(DenseOperator(dense).growth(known), growth)
    blocks = BlockOperator(dense[..., None])
    np.testing.assert_allclose(blocks.growth(known), growth)
