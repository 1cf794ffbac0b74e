import importlib.util
import pathlib

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel

ROOT = pathlib.Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("german", ROOT / "benchmarks" / "german_credit.py")
german = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(german)


@pytest.mark.parametrize(
    ("name", "model", "iterations"),
    [
        ("mala", pmc.Diagonal(), 13),
        ("mala", pmc.Surrogate(), 16),
        ("hmc", pmc.Diagonal(), 8),
    ],
)
def test_german_credit(x64, name, model, iterations):
    logdensity, dim = german.whitened_posterior()
    if name == "mala":
        kernel, algorithm = pmc.mala(logdensity, 0.3), blackjax.mala(logdensity, 0.3)
    else:
        arguments = (logdensity, 0.3, jnp.ones(dim), 5)
        kernel, algorithm = pmc.hmc(*arguments), blackjax.hmc(*arguments)
    start = jnp.zeros(dim)
    keys = jax.random.split(jax.random.key(0), 1024)
    positions, _ = jax.jit(german.sequential, static_argnums=0)(algorithm, start, keys)
    runner = Parallel(pmc.Newton(model), 1024, tolerance=german.TOLERANCE)
    solution, _ = jax.jit(runner.solve)(kernel, kernel.init(start), keys)
    assert solution.converged
    assert solution.fallback_steps == 0
    assert solution.iterations <= iterations
    np.testing.assert_allclose(solution.states.position, positions, atol=1e-6)


COVARIANCE = np.array([[2.0, 0.5], [0.5, 1.0]])


def logdensity(x):
    v = jnp.concatenate([x["a"][None], x["b"]])
    return -0.5 * v @ np.linalg.inv(COVARIANCE) @ v


@pytest.mark.parametrize("metric", [COVARIANCE, np.diag(COVARIANCE)], ids=["dense", "diagonal"])
@pytest.mark.parametrize("solver", ["sequential", "parallel"])
def test_hmc_on_a_pytree(x64, metric, solver):
    start, key = {"a": jnp.array(1.0), "b": jnp.array([-1.0])}, jax.random.key(3)
    algorithm = blackjax.hmc(logdensity, 0.4, jnp.asarray(metric), 4)
    _, (states, info) = blackjax.util.run_inference_algorithm(
        key, algorithm, 300, initial_state=algorithm.init(start)
    )
    kernel = pmc.hmc(logdensity, 0.4, metric, 4)
    samples = pmc.sample(key, kernel, start, 300, solver=solver, progress_bar=False)
    for name in start:
        np.testing.assert_allclose(samples.position[name][0], states.position[name], atol=1e-6)
    np.testing.assert_array_equal(samples.info.is_accepted[0], info.is_accepted)
