"""Shooting as a method of ``solve``, and window after window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_reference import loop, problem, step

import parallel_mcmc as pmc
from parallel_mcmc.solver.recurrence import plain_recurrence
from parallel_mcmc.solver.shooting import default_max_rounds, shoot_in_windows


@pytest.mark.parametrize(
    ("window", "dtype", "atol"), [(30, jnp.float64, 1e-8), (None, jnp.float32, 1e-3)]
)
def test_equals_the_loop(x64, dtype, atol, window):
    start, inputs = problem(dtype)
    solution = pmc.solve(step, start, inputs, method=pmc.Shooting(5), window=window)
    expected = loop(step, start, inputs)
    assert solution.converged and solution.fallback_steps == 0
    assert (pmc.verify(solution) <= atol).all()
    for name in start:
        assert solution.states[name].dtype == expected[name].dtype
        np.testing.assert_allclose(solution.states[name], expected[name], atol=atol)


def halve(x, u):
    return 0.5 * x + u


def test_windows_follow_one_another():
    inputs = jax.random.normal(jax.random.key(0), (2, 1000, 1))
    starts = jnp.array([[1.0], [-3.0]])
    settings = {"lanes": 4, "max_rounds": 9, "tolerance": 1e-6, "scale": jnp.ones(1)}
    recurrence = plain_recurrence(halve)
    # Three windows of 334 steps, two of which only fill up.
    several, _ = shoot_in_windows(recurrence, starts, inputs, window=400, **settings)
    whole, _ = shoot_in_windows(recurrence, starts, inputs, window=1000, **settings)
    np.testing.assert_allclose(several.states, whole.states, atol=1e-5)
    assert several.states.shape == (2, 1000, 1)
    assert several.iterations.tolist() == [6, 6] and whole.iterations.tolist() == [2, 2]
    assert several.converged.all() and several.fallback_steps.tolist() == [0, 0]
    assert (several.evaluations > whole.evaluations).all()
    assert several.residual_history.shape == (2, 9)


def test_each_window_has_rounds_of_its_own():
    inputs = jnp.ones((1, 1000, 1))
    solution, _ = shoot_in_windows(
        plain_recurrence(lambda x, u: x + u),
        jnp.zeros((1, 1)),
        inputs,
        window=400,
        lanes=4,
        max_rounds=2,
        tolerance=1e-6,
        scale=jnp.ones(1),
    )
    np.testing.assert_array_equal(solution.states[0, :, 0], np.arange(1, 1001))
    # Windows of 334 steps in lanes of 84: half of each, and the last is two steps shorter.
    assert solution.fallback_steps.tolist() == [166 + 166 + 164]
    assert not solution.converged[0]


def bent(x, u):
    return 0.6 * jnp.sin(x) + u


def test_the_derivative_is_that_of_the_loop(x64):
    inputs = jax.random.normal(jax.random.key(0), (60, 2))

    def solved(start, inputs):
        return jnp.sum(jnp.sin(pmc.solve(bent, start, inputs, method=pmc.Shooting(4)).states))

    def looped(start, inputs):
        return jnp.sum(jnp.sin(loop(bent, start, inputs)))

    ours = jax.grad(solved, argnums=(0, 1))(jnp.ones(2), inputs)
    theirs = jax.grad(looped, argnums=(0, 1))(jnp.ones(2), inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), ours, theirs)


@settings(max_examples=10, deadline=None)
@given(
    length=st.integers(1, 40),
    dim=st.integers(1, 4),
    window=st.integers(1, 50),
    lanes=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_equals_the_loop_for_any_shape(length, dim, window, lanes, seed):
    start, *inputs = jax.random.normal(jax.random.key(seed), (length + 1, dim))
    inputs = jnp.stack(inputs)
    solution = pmc.solve(
        bent, start, inputs, method=pmc.Shooting(lanes), window=window, max_iterations=lanes
    )
    assert solution.converged
    np.testing.assert_allclose(solution.states, loop(bent, start, inputs), atol=1e-3)


def test_under_vmap(x64):
    inputs = jax.random.normal(jax.random.key(0), (3, 200, 2))

    def one(inputs):
        return pmc.solve(halve, jnp.zeros(2), inputs, method=pmc.Shooting(8)).states

    expected = jnp.stack([loop(halve, jnp.zeros(2), value) for value in inputs])
    np.testing.assert_allclose(jax.vmap(one)(inputs), expected, atol=1e-8)


def test_the_loop_takes_over_with_a_warning():
    inputs = jnp.ones((64, 1))
    with pytest.warns(pmc.SequentialFallbackWarning, match="finished 24 of 64 steps"):
        solution = pmc.solve(lambda x, u: x + u, jnp.zeros(1), inputs, method=pmc.Shooting(8))
    np.testing.assert_array_equal(solution.states[:, 0], np.arange(1, 65))
    # The first round and four more: a lane each.
    assert solution.iterations == default_max_rounds(8) == 5


def test_the_budget_of_rounds_is_a_quarter_of_the_lanes_and_the_first():
    assert [default_max_rounds(lanes) for lanes in (1, 16, 32, 1024)] == [5, 5, 9, 257]


@pytest.mark.parametrize("lanes", [0, -1, 1.5, "4", True])
def test_lanes_must_be_a_positive_integer(lanes):
    with pytest.raises((TypeError, ValueError), match="lanes must be a positive integer"):
        pmc.Shooting(lanes)


def test_no_mesh():
    mesh = jax.make_mesh((1,), ("time",))
    with pytest.raises(ValueError, match="method must be a Newton method if mesh is given"):
        pmc.solve(halve, jnp.zeros(1), jnp.ones((8, 1)), method=pmc.Shooting(), mesh=mesh)
