"""A tolerance of zero: every state has the bits of its step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solver_reference import loop

import parallel_mcmc as pmc
from parallel_mcmc._tree import preceding

T = 300
START = np.ones(3)


def step(x, u):
    """Contract, by operations that are rounded alike in any program: no product is inexact."""
    y = x[::-1] + 0.25 * x
    return 0.5 * y / (1 + jnp.abs(y)) + u


def inputs_of(dtype):
    return jax.random.normal(jax.random.key(0), (T, 3), dtype)


@jax.jit
def as_a_batch(states, inputs):
    return jax.vmap(step)(preceding(jnp.asarray(START, states.dtype), states), inputs)


def edges_that_differ(states, inputs):
    return int((as_a_batch(states, inputs) != states).any(axis=-1).sum())


EVERY_STATE = pmc.Newton(stride=1)
METHODS = {"dense": pmc.deer(), "diagonal": pmc.quasi_deer(), "default": pmc.Newton()}


QUICK = [
    ("dense", 16, jnp.float64),
    ("diagonal", None, jnp.float64),
    ("diagonal", 16, jnp.float32),
]
CASES = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
    for case in itertools.product(METHODS, [None, 16], [jnp.float32, jnp.float64])
]


@pytest.mark.parametrize(("name", "window", "dtype"), CASES)
def test_every_state_has_the_bits_of_its_step(x64, name, window, dtype):
    inputs = inputs_of(dtype)
    start = jnp.asarray(START, dtype)
    settings = {"method": METHODS[name], "window": window}
    found = pmc.solve(step, start, inputs, tolerance=0, **settings)
    assert bool(found.converged) and float(found.residual) == 0
    assert found.states.dtype == dtype
    assert edges_that_differ(found.states, inputs) == 0
    np.testing.assert_array_equal(found.states, loop(step, start, inputs))
    # The default tolerance stops where some bits still differ.
    near = pmc.solve(step, start, inputs, **settings)
    assert edges_that_differ(near.states, inputs) > 0
    assert int(near.iterations) < int(found.iterations)


def test_the_tolerance_may_be_traced():
    inputs = inputs_of(jnp.float32)

    @jax.jit
    def solved(tolerance):
        return pmc.solve(
            step, jnp.asarray(START), inputs, method=EVERY_STATE, tolerance=tolerance
        ).states

    assert edges_that_differ(solved(0.0), inputs) == 0
    assert edges_that_differ(solved(1e-4), inputs) > 0


def test_a_budget_that_does_not_suffice_ends_in_the_loop():
    inputs = inputs_of(jnp.float32)
    with pytest.warns(pmc.SequentialFallbackWarning, match="after 4 iterations"):
        found = pmc.solve(
            step, jnp.asarray(START), inputs, method=EVERY_STATE, tolerance=0, max_iterations=4
        )
    assert not bool(found.converged) and 0 < int(found.fallback_steps) < T
    np.testing.assert_array_equal(found.states, loop(step, jnp.asarray(START), inputs))


@pytest.mark.parametrize("window", [None, 64])
def test_over_a_mesh(window):
    mesh = jax.sharding.Mesh(jax.devices()[:1], ("time",))
    inputs = inputs_of(jnp.float32)
    found = pmc.solve(step, jnp.asarray(START), inputs, tolerance=0, mesh=mesh, window=window)
    assert bool(found.converged)
    assert edges_that_differ(found.states, inputs) == 0


def test_what_is_not_a_number_agrees_with_nothing():
    def root(x, u):
        return jnp.sqrt(x) - u

    inputs = jnp.full((T, 1), 0.5)
    with pytest.warns(pmc.SequentialFallbackWarning):
        found = pmc.solve(root, jnp.ones(1), inputs, tolerance=0)
    np.testing.assert_array_equal(found.states, loop(root, jnp.ones(1), inputs))
