import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_reference import T, loop, problem, step

import parallel_mcmc as pmc


def surrogate(state, value, next_state):
    return 0.3


METHODS = {
    "jacobi": pmc.jacobi(),
    "picard": pmc.picard(),
    "quasi_deer(1)": pmc.quasi_deer(1),
    "quasi_deer(None)": pmc.quasi_deer(None),
    "deer": pmc.deer(),
    "elk": pmc.elk(0.3),
    "quasi_elk": pmc.quasi_elk(0.3),
    "surrogate": pmc.Newton(pmc.Surrogate(lambda s, u, t: jnp.full(4, 0.3, t["x"].dtype))),
}


def check_equals_the_loop(method, window, dtype, atol):
    start, inputs = problem(dtype)
    solution = pmc.solve(step, start, inputs, method=method, window=window)
    expected = loop(step, start, inputs)
    assert bool(solution.converged)
    assert int(solution.fallback_steps) == 0
    for name in start:
        assert solution.states[name].dtype == expected[name].dtype
        np.testing.assert_allclose(solution.states[name], expected[name], atol=atol)


@pytest.mark.parametrize("window", [None, 16, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_equals_the_loop_in_double_precision(x64, method, window):
    check_equals_the_loop(method, window, jnp.float64, 1e-8)


@pytest.mark.parametrize("name", ["picard", "quasi_deer(1)", "deer", "quasi_elk"])
def test_equals_the_loop_in_single_precision(name):
    check_equals_the_loop(METHODS[name], 16, jnp.float32, 1e-3)


def affine(x, u):
    return 0.6 * jnp.sin(x) + u


@settings(max_examples=10, deadline=None)
@given(
    length=st.integers(1, 40),
    dim=st.integers(1, 4),
    window=st.integers(1, 50),
    seed=st.integers(0, 1000),
    name=st.sampled_from(["picard", "quasi_deer(1)", "deer"]),
)
def test_equals_the_loop_for_any_shape(length, dim, window, seed, name):
    start, *inputs = jax.random.normal(jax.random.key(seed), (length + 1, dim))
    inputs = jnp.stack(inputs)
    solution = pmc.solve(affine, start, inputs, method=METHODS[name], window=window)
    assert bool(solution.converged)
    np.testing.assert_allclose(solution.states, loop(affine, start, inputs), atol=1e-3)


def test_vmap_and_jit():
    starts = jax.random.normal(jax.random.key(1), (3, 2))
    inputs = jax.random.normal(jax.random.key(2), (3, 30, 2))
    solve = jax.jit(jax.vmap(lambda s, u: pmc.solve(affine, s, u, window=16)))
    solution = solve(starts, inputs)
    assert solution.converged.shape == (3,) and solution.converged.all()
    expected = jax.vmap(lambda s, u: loop(affine, s, u))(starts, inputs)
    np.testing.assert_allclose(solution.states, expected, atol=1e-3)


def test_no_retrace_for_other_numbers():
    traces = []

    def counted(rate, x, u):
        traces.append(1)
        return rate * jnp.sin(x) + u

    def run(rate, damping, seed):
        bound = jax.tree_util.Partial(counted, jnp.asarray(rate))
        method = pmc.Newton(pmc.Diagonal(), damping=damping)
        inputs = jax.random.normal(jax.random.key(seed), (20, 2))
        solution = pmc.solve(bound, jnp.zeros(2), inputs, method=method)
        return solution.states, loop(lambda x, u: rate * jnp.sin(x) + u, jnp.zeros(2), inputs)

    first, expected = run(0.5, 1.0, 0)
    np.testing.assert_allclose(first, expected, atol=1e-3)
    # What is compiled is not traced again, nor to check the step.
    compiled = len(traces)
    second, expected = run(0.3, 0.9, 1)
    np.testing.assert_allclose(second, expected, atol=1e-3)
    assert len(traces) == compiled
    assert compiled > 2


def test_initial_guess_of_the_solution_takes_one_iteration(x64):
    inputs = jax.random.normal(jax.random.key(0), (T, 2))
    exact = loop(affine, jnp.zeros(2), inputs)
    cold = pmc.solve(affine, jnp.zeros(2), inputs)
    warm = pmc.solve(affine, jnp.zeros(2), inputs, initial_guess=exact)
    assert int(warm.iterations) == 1 < int(cold.iterations)
    np.testing.assert_allclose(warm.states, exact, atol=1e-12)


def test_counts_and_history():
    inputs = jax.random.normal(jax.random.key(0), (T, 2))
    solution = pmc.solve(affine, jnp.zeros(2), inputs, method=pmc.deer(), max_iterations=30)
    count = int(solution.iterations)
    assert int(solution.evaluations) == count * T * 3
    history = np.asarray(solution.residual_history)
    assert history.shape == (30,)
    assert np.isnan(history[count:]).all() and (history[:count] >= 0).all()
    assert float(solution.residual) <= 1e-4


@pytest.mark.parametrize("scale", [2.0, jnp.full(2, 2.0)], ids=["number", "tree"])
def test_scale_loosens_the_tolerance(scale):
    inputs = jax.random.normal(jax.random.key(0), (T, 2))
    strict = pmc.solve(affine, jnp.zeros(2), inputs, method=pmc.jacobi(), scale=1e-2)
    loose = pmc.solve(affine, jnp.zeros(2), inputs, method=pmc.jacobi(), scale=scale)
    assert int(loose.iterations) < int(strict.iterations)
    np.testing.assert_allclose(loose.states, loop(affine, jnp.zeros(2), inputs), atol=1e-3)


GOOD = {"step": affine, "initial_state": jnp.zeros(2), "inputs": jnp.zeros((5, 2))}


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "step must be callable, got int", {"step": 3}),
        (TypeError, "method must be a Newton method", {"method": "deer"}),
        (TypeError, "method must be a Newton method", {"method": pmc.Dense()}),
        (ValueError, "inputs must have leaves with one common", {"inputs": jnp.zeros((0, 2))}),
        (ValueError, "inputs must have leaves with one common", {"inputs": jnp.zeros(())}),
        (ValueError, "inputs must have leaves with one common", {"inputs": ()}),
        (
            ValueError,
            "inputs must have leaves with one common",
            {"inputs": (jnp.zeros(3), jnp.zeros(4))},
        ),
        (
            ValueError,
            "initial_state must have a floating-point leaf",
            {"initial_state": jnp.zeros(2, jnp.int32)},
        ),
        (ValueError, "initial_state must be finite", {"initial_state": jnp.full(2, jnp.nan)}),
        (
            ValueError,
            "the value of step must have the shape and dtype of initial_state",
            {"step": lambda x, u: x[:1]},
        ),
        (
            ValueError,
            "the value of step must have the structure of initial_state",
            {"step": lambda x, u: (x, u)},
        ),
        (ValueError, "initial_guess must have the shape", {"initial_guess": jnp.zeros((4, 2))}),
        (ValueError, "initial_guess must have the structure", {"initial_guess": ()}),
        (
            ValueError,
            "initial_guess must be finite",
            {"initial_guess": jnp.full((5, 2), jnp.inf)},
        ),
        (ValueError, "window must be a positive integer", {"window": 0}),
        (ValueError, "window must be a positive integer", {"window": 2.0}),
        (ValueError, "max_iterations must be a positive integer", {"max_iterations": 0}),
        (ValueError, "tolerance must be at least 0 and finite", {"tolerance": -1.0}),
        (ValueError, "tolerance must be at least 0 and finite", {"tolerance": np.nan}),
        (ValueError, "scale must be positive and finite", {"scale": 0.0}),
        (
            ValueError,
            "scale must be positive and finite",
            {"scale": jnp.array([1.0, -1.0])},
        ),
        (
            ValueError,
            "method: Surrogate() needs an analytic Jacobian",
            {"method": pmc.Newton(pmc.Surrogate())},
        ),
    ],
)
def test_bad_arguments(error, message, change):
    with pytest.raises(error, match=re.escape(message)):
        pmc.solve(**(GOOD | change))


def test_inputs_of_a_weak_type_leave_the_state_its_precision(x64):
    inputs = jnp.broadcast_to(jnp.asarray(0.3), (64,))
    assert inputs.weak_type and inputs.dtype == np.float64
    first = jnp.zeros(3, np.float32)
    solution = pmc.solve(lambda x, u: 0.5 * jnp.sin(x) + u, first, inputs)
    expected = jax.lax.scan(lambda x, u: (0.5 * jnp.sin(x) + u,) * 2, first, inputs)[1]
    assert solution.states.dtype == np.float32
    np.testing.assert_allclose(solution.states, expected, atol=1e-5)
