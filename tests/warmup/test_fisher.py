import functools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import block_diag, sqrtm

from parallel_mcmc.warmup import fisher, welford

DIM = 4
COUNT = 60


def gathered(values, dense):
    start = welford.init(values.shape[-1], dense, values.dtype)
    return functools.reduce(welford.update, jnp.asarray(values)[:, None], start)


@pytest.fixture
def gaussian():
    """Positions far from the posterior N(1, covariance), their gradients, and the covariance."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(DIM, DIM)) * np.array([[0.01], [0.1], [1.0], [10.0]])
    covariance = half @ half.T
    positions = rng.normal(size=(COUNT, DIM)) * [0.1, 0.2, 3.0, 50.0] + [5.0, 0.0, -3.0, 2.0]
    return positions, -(positions - 1.0) @ np.linalg.inv(covariance), covariance


def test_covariance_of_a_gaussian_from_any_positions(x64, gaussian):
    positions, gradients, covariance = gaussian
    found = fisher.estimate(gathered(positions, True), gathered(gradients, True), None)
    # But for the regularisation.
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(
        found / np.outer(scale, scale), covariance / np.outer(scale, scale), atol=2e-3
    )
    assert np.abs(np.cov(positions.T) / covariance - 1).max() > 1


def test_geometric_mean(x64):
    """Of the positions' covariance and of the inverse of the gradients'."""
    rng = np.random.default_rng(1)
    positions, gradients = rng.normal(size=(2, 5000, DIM)) @ rng.normal(size=(2, DIM, DIM))
    found = fisher.estimate(gathered(positions[:500], True), gathered(gradients[:500], True), None)
    first, second = np.cov(positions[:500].T), np.linalg.inv(np.cov(gradients[:500].T))
    root = sqrtm(first)
    inverse = np.linalg.inv(root)
    expected = root @ sqrtm(inverse @ second @ inverse) @ root
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


def test_diagonal(x64, gaussian):
    positions, _, covariance = gaussian
    variances = np.diag(covariance)
    gradients = -positions / variances
    found = fisher.estimate(gathered(positions, False), gathered(gradients, False), None)
    np.testing.assert_allclose(found, variances, rtol=0.05)


def test_structure(x64, gaussian):
    positions, gradients, _ = gaussian
    structure = block_diag(np.ones((2, 2)), np.ones((2, 2))).astype(bool)
    found = fisher.estimate(gathered(positions, True), gathered(gradients, True), structure)
    np.testing.assert_array_equal(np.asarray(found) != 0, structure)
    alone = fisher.estimate(
        gathered(positions[:, :2], True), gathered(gradients[:, :2], True), None
    )
    np.testing.assert_allclose(found[:2, :2], alone, rtol=1e-9)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("count", [2, 3])
def test_positive_definite_with_few_positions(gaussian, count, dense):
    positions, gradients, _ = (x.astype(np.float32) for x in gaussian)
    found = fisher.estimate(
        gathered(positions[:count], dense), gathered(gradients[:count], dense), None
    )
    assert (np.linalg.eigvalsh(found).min() if dense else found.min()) > 0
