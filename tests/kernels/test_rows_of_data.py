"""Kernels on a log density that is evaluated in blocks of rows."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.util import run_inference_algorithm
from jaxprs import scans

import parallel_mcmc as pmc
from parallel_mcmc.choice import measure
from parallel_mcmc.rows import arranged as module
from parallel_mcmc.rows import plan

ROWS, DIM = 531, 3
# Of 80 rows, and one of the 51 that are left.
BLOCKS = 6
_rng = np.random.default_rng(0)
DESIGN = _rng.normal(size=(ROWS, DIM))
OUTCOME = (_rng.random(ROWS) < 1 / (1 + np.exp(-DESIGN @ np.array([0.5, -1.0, 0.2])))).astype(float)
KERNELS = {
    "mala": lambda package, logdensity: package.mala(logdensity, 0.01),
    "hmc": lambda package, logdensity: package.hmc(logdensity, 0.1, jnp.ones(DIM), 4),
    "rmh": lambda package, logdensity: package.rmh(logdensity, 0.1),
}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(plan, "cache_bytes", lambda: 0)
    monkeypatch.setattr(plan, "FEWEST_ROWS", 100)
    module._left_alone.clear()


@pytest.fixture
def logdensity(x64):
    design, outcome = jnp.asarray(DESIGN), jnp.asarray(OUTCOME)

    def logdensity(q):
        logits = design @ q
        return jnp.sum(outcome * logits - jnp.logaddexp(0.0, logits)) - 0.5 * jnp.sum(q**2)

    return logdensity


def is_cut(kernel, position):
    def step(state, key):
        return kernel.step(state, kernel.draw(key, position))

    return BLOCKS in scans(step, kernel.init(position), jax.random.key(0))


def of_blackjax(name, logdensity):
    if name == "rmh":
        walk = blackjax.additive_step_random_walk
        return walk.normal_random_walk(logdensity, 0.1 * jnp.ones(DIM))
    return KERNELS[name](blackjax, logdensity)


@pytest.mark.parametrize("solver", ["sequential", pmc.Shooting(4), "parallel"], ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_the_chain_is_that_of_blackjax(logdensity, small_blocks, name, solver):
    kernel = KERNELS[name](pmc, logdensity)
    start, key, draws = jnp.zeros(DIM), jax.random.key(3), 64
    assert is_cut(kernel, start)
    algorithm = of_blackjax(name, logdensity)
    _, expected = run_inference_algorithm(
        key,
        algorithm,
        draws,
        initial_state=algorithm.init(start),
        transform=lambda state, info: state.position,
    )
    samples = pmc.sample(key, kernel, start, draws, solver=solver, progress_bar=False)
    np.testing.assert_allclose(np.reshape(samples.position, expected.shape), expected, atol=1e-7)


def test_traffic_is_that_of_all_rows(logdensity, small_blocks):
    kernel = KERNELS["mala"](pmc, logdensity)
    state, key = kernel.init(jnp.zeros(DIM)), jax.random.key(0)
    assert is_cut(kernel, jnp.zeros(DIM))
    # The design is read for the value and for the gradient.
    assert measure.step_traffic(kernel, state, key) > 2 * DESIGN.nbytes
