import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxprs import precisions

import parallel_mcmc as pmc
import parallel_mcmc.blackjax
from parallel_mcmc._precision import full_precision

MATRIX = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
HIGHEST = {str((jax.lax.Precision.HIGHEST,) * 2)}


def logdensity(q):
    return -0.5 * jnp.sum((MATRIX @ q) ** 2)


def step(x, u):
    return 0.1 * jnp.tanh(x @ MATRIX[:3]) + u


def test_configuration_takes_precedence():
    with jax.default_matmul_precision("tensorfloat32"), full_precision():
        assert jax.config.jax_default_matmul_precision == "tensorfloat32"
    assert jax.config.jax_default_matmul_precision is None


@pytest.mark.parametrize("method", [pmc.Newton(), pmc.quasi_deer(), pmc.jacobi()])
def test_products_of_a_step(method):
    def solved(inputs):
        return pmc.solve(step, jnp.zeros(3), inputs, method=method, window=4).states

    inputs = jnp.ones((8, 3))
    assert precisions(step, inputs[0], inputs[0]) == {"None"}
    assert precisions(solved, inputs) == HIGHEST
    assert precisions(jax.grad(lambda inputs: solved(inputs).sum()), inputs) == HIGHEST
    with jax.default_matmul_precision("tensorfloat32"):
        assert str((jax.lax.Precision.HIGH,) * 2) in precisions(solved, inputs) - HIGHEST


@pytest.mark.parametrize("solver", ["sequential", "parallel"])
@pytest.mark.parametrize(
    "algorithm",
    [
        blackjax.hmc(logdensity, 0.1, np.ones(3), 3),
        blackjax.elliptical_slice(logdensity, mean=jnp.zeros(3), cov=jnp.eye(3)),
    ],
    ids=["known", "generic"],
)
def test_products_of_blackjax_algorithms(algorithm, solver):
    def run(key):
        return pmc.blackjax.run_inference_algorithm(
            key, algorithm, 8, initial_position=jnp.ones(3), solver=solver
        )[1]

    assert precisions(run, jax.random.key(0)) == HIGHEST


def test_products_of_a_start():
    assert precisions(lambda q: pmc.mala(logdensity, 0.1).init(q), jnp.ones(3)) == HIGHEST
