import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.kernels import LowRankMetric, metric

DIM, RANK = 7, 3


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(DIM, RANK)))[0]
    return rng.uniform(0.1, 10, DIM), vectors, np.array([100.0, 4.0, 0.01])


def matrix_of(scale, vectors, values):
    inner = np.eye(DIM) + vectors @ np.diag(values - 1) @ vectors.T
    return np.diag(scale) @ inner @ np.diag(scale)


def test_is_the_matrix_that_it_stands_for(x64, parts):
    found = LowRankMetric(*parts)
    expected = matrix_of(*parts)
    np.testing.assert_allclose(found.inverse_mass_matrix(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.variances(), np.diag(expected), rtol=1e-12)
    factor = jax.vmap(found.color)(jnp.eye(DIM)).T
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-12, atol=1e-12)
    assert found.dim == DIM


def test_the_ways_in_and_out(x64, parts):
    found = LowRankMetric(*parts)
    factor = np.asarray(jax.vmap(found.color)(jnp.eye(DIM)).T)
    v = np.random.default_rng(1).normal(size=DIM)
    np.testing.assert_allclose(found.whiten(found.color(v)), v, rtol=1e-11)
    np.testing.assert_allclose(found.pull_gradient(v), factor.T @ v, rtol=1e-11)
    np.testing.assert_allclose(found.push_gradient(found.pull_gradient(v)), v, rtol=1e-11)


def test_dtype_is_that_of_the_vector(x64, parts):
    found = LowRankMetric(*parts)
    for change in (found.whiten, found.color, found.pull_gradient, found.push_gradient):
        assert change(jnp.ones(DIM, jnp.float32)).dtype == jnp.float32


def test_a_metric_is_taken_for_an_inverse_mass_matrix(parts):
    given = LowRankMetric(*parts)
    assert metric(given) is given
    assert pmc.mala(lambda x: -jnp.sum(x**2), 0.1, given).metric is given
    assert pmc.hmc(lambda x: -jnp.sum(x**2), 0.1, given, 2).draw(jax.random.key(0)).normal.size == 7
    with pytest.raises(ValueError, match="inverse_mass_matrix is for 7 dimensions"):
        pmc.sample(
            jax.random.key(0), pmc.mala(lambda x: -jnp.sum(x**2), 0.1, given), jnp.zeros(3), 5
        )


@pytest.mark.parametrize(
    "make",
    [lambda *a: pmc.mala(*a), pytest.param(lambda *a: pmc.hmc(*a, 4), marks=pytest.mark.slow)],
)
def test_parallel_chain_is_the_sequential_one(x64, parts, make):
    inverse = jnp.asarray(np.linalg.inv(matrix_of(*parts)))

    def logdensity(x):
        return -0.5 * x @ inverse @ x

    kernel = make(logdensity, 0.3, LowRankMetric(*parts))
    arguments = jax.random.key(0), kernel, jnp.ones(DIM), 200
    parallel, sequential = (
        pmc.sample(*arguments, solver=solver, progress_bar=False)
        for solver in ("parallel", "sequential")
    )
    assert parallel.stats.converged.all() and not parallel.stats.fallback_steps.any()
    np.testing.assert_allclose(parallel.position, sequential.position, rtol=1e-6, atol=1e-6)
    assert 0.7 < sequential.info.acceptance_rate.mean() <= 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scale": np.ones(6)}, ValueError, "must have the shapes .D,., .D, r. and .r,.,"),
        ({"values": np.ones(2)}, ValueError, "must have the shapes"),
        ({"values": 1.0}, ValueError, "must have the shapes"),
        ({"scale": np.zeros(7)}, ValueError, "scale must be positive and finite"),
        ({"values": np.full(3, np.nan)}, ValueError, "values must be positive and finite"),
        ({"vectors": np.ones((7, 3))}, ValueError, "vectors must have orthonormal columns"),
        ({"vectors": "ones"}, TypeError, "vectors must be an array"),
    ],
)
def test_rejects(parts, change, error, message):
    arguments = dict(zip(("scale", "vectors", "values"), parts, strict=True))
    with pytest.raises(error, match=message):
        LowRankMetric(**arguments | change)
