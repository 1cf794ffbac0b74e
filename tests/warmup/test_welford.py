import functools

import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.warmup import welford


def moments(draws, dense):
    """Moments of ``(num_steps, num_chains, D)`` draws, one step after the other."""
    start = welford.init(draws.shape[-1], dense, draws.dtype)
    return functools.reduce(welford.update, jnp.asarray(draws), start)


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 4, 3)) @ rng.normal(size=(3, 3)) + [1.0, -20.0, 300.0]


@pytest.mark.parametrize("num_chains", [1, 4])
def test_covariance_is_that_of_all_chains_together(x64, draws, num_chains):
    draws = draws[:, :num_chains]
    pooled = draws.reshape(-1, 3)
    state = moments(draws, dense=True)
    assert state.count == len(pooled)
    np.testing.assert_allclose(state.mean, pooled.mean(0), rtol=1e-13)
    expected = np.cov(pooled.T)
    np.testing.assert_allclose(welford.covariance(state), expected, rtol=1e-12, atol=1e-12)
    diagonal = welford.covariance(moments(draws, dense=False))
    np.testing.assert_allclose(diagonal, np.diag(expected), rtol=1e-12)


def test_single_precision_survives_a_large_mean(draws):
    draws = (draws + 1e4).astype(np.float32)
    expected = np.cov(draws.reshape(-1, 3).T.astype(float))
    # Rounding of the positions themselves: 1e4 * 2^-24 of each draw.
    np.testing.assert_allclose(welford.covariance(moments(draws, True)), expected, atol=5e-3)


@pytest.mark.parametrize("dense", [True, False])
def test_regularisation_is_stans_in_units_of_the_variances(x64, draws, dense):
    state = moments(draws, dense)
    sample = np.cov(draws.reshape(-1, 3).T)
    expected = 200 / 205 * sample + 1e-3 * 5 / 205 * np.diag(np.diag(sample))
    expected = expected if dense else np.diag(expected)
    np.testing.assert_allclose(welford.regularised(state), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_regularised_is_positive_definite_with_few_positions(draws, count):
    state = moments(draws[:count, :1].astype(np.float32), dense=True)
    assert np.linalg.eigvalsh(welford.regularised(state)).min() > 0


@pytest.mark.parametrize("dense", [True, False])
def test_coordinates_that_have_not_moved_count_with_a_variance_of_1(x64, draws, dense):
    draws[..., 1] = 7.0
    found = welford.regularised(moments(draws, dense))
    found = np.diag(found) if dense else found
    np.testing.assert_allclose(found[1], 5e-3 / 205, rtol=1e-12)


@pytest.mark.parametrize("dense", [True, False])
def test_positions_that_do_not_count_leave_no_trace(x64, draws, dense):
    batch, counts = draws[0], np.array([True, False, True, False])
    before = moments(draws[1:], dense)
    expected = welford.update(before, jnp.asarray(batch[counts]))
    batch[~counts] = np.nan
    found = welford.update(before, jnp.asarray(batch), jnp.asarray(counts))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)
