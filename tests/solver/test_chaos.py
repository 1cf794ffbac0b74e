import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.solver.chaos import LEAST_WINDOW, PROBED_STEPS, early_growth, is_probed
from parallel_mcmc.solver.recurrence import plain_recurrence
from parallel_mcmc.solver.timeaxis import ONE_DEVICE, Blocks


def logistic_map(x, _):
    return 4 * x * (1 - x)


def doubled(x, u):
    return {"a": 2 * x["a"] + u, "count": x["count"] + 1}


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")


def test_the_growth_of_a_linear_map_is_that_of_its_largest_eigenvalue(x64):
    matrix = jnp.array([[1.5, 1.0], [0.0, 0.25]])
    recurrence = plain_recurrence(lambda x, u: matrix @ x + u)
    growth = early_growth(recurrence, jnp.ones(2), jnp.zeros((4000, 2)))
    np.testing.assert_allclose(growth, np.log(1.5), atol=1e-3)


def test_the_growth_of_a_constant_is_minus_infinity():
    recurrence = plain_recurrence(lambda x, u: jnp.zeros(2))
    assert early_growth(recurrence, jnp.ones(2), jnp.zeros((10, 1))) == -jnp.inf


@pytest.mark.parametrize(
    ("margin", "window", "axis", "probed"),
    [
        (None, LEAST_WINDOW, ONE_DEVICE, True),
        (None, LEAST_WINDOW - 1, ONE_DEVICE, False),
        (lambda aux: 0.0, LEAST_WINDOW, ONE_DEVICE, False),
        (None, LEAST_WINDOW, Blocks(2), False),
    ],
)
def test_what_is_probed(on_cpu, margin, window, axis, probed):
    recurrence = plain_recurrence(logistic_map)
    recurrence = dataclasses.replace(recurrence, margin=margin)
    assert is_probed(recurrence, window, axis) is probed


def test_an_accelerator_makes_no_single_steps(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not is_probed(plain_recurrence(logistic_map), 10 * LEAST_WINDOW, ONE_DEVICE)


def test_chaos_in_the_first_steps_leaves_all_to_the_plain_loop(on_cpu, x64):
    inputs = jax.random.normal(jax.random.key(0), (LEAST_WINDOW,))
    start = {"a": jnp.array(0.0), "count": jnp.array(0)}
    with pytest.warns(pmc.SequentialFallbackWarning, match=r"exponent of about 0\.69"):
        solution = pmc.solve(doubled, start, inputs)
    plain = jax.lax.scan(lambda x, u: (doubled(x, u),) * 2, start, inputs)[1]
    jax.tree.map(np.testing.assert_array_equal, solution.states, plain)
    assert not solution.converged
    assert solution.iterations == 0
    assert solution.fallback_steps == LEAST_WINDOW
    assert solution.evaluations == LEAST_WINDOW + 2 * PROBED_STEPS
    np.testing.assert_allclose(solution.growth, np.log(2), rtol=1e-6)
    assert pmc.verify(solution).max() == 0


def test_chaos_by_vmap_is_noticed_for_each_chain(on_cpu, x64):
    inputs = 0.1 * jax.random.normal(jax.random.key(0), (LEAST_WINDOW,))

    def run(factor):
        return pmc.solve(lambda x, u: factor * x + u, jnp.array(0.0), inputs)._replace(problem=None)

    solutions = jax.vmap(run)(jnp.array([0.5, 1.5]))
    np.testing.assert_array_equal(solutions.converged, [True, False])
    np.testing.assert_array_equal(solutions.fallback_steps, [0, LEAST_WINDOW])
    for factor, states in zip((0.5, 1.5), solutions.states, strict=True):
        plain = jax.lax.scan(lambda x, u, a=factor: (a * x + u,) * 2, jnp.array(0.0), inputs)[1]
        np.testing.assert_allclose(states, plain, rtol=1e-6, atol=1e-6)
