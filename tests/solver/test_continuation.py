"""The states that enter a window, by the linearisation of those that are in it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solver_reference import loop

import parallel_mcmc as pmc
from parallel_mcmc.solver.continuation import (
    MOST_DRIVES,
    continued,
    fits_inputs,
    fitted_operator,
)
from parallel_mcmc.solver.operators import DenseOperator, DiagonalOperator, ZeroOperator

W = 20
MATRIX = np.array([[0.7, 0.2], [-0.3, 0.9]])
EFFECT = np.array([[1.0, 0.5, 0.0], [0.0, 2.0, -1.0]])
SHIFT = np.array([0.3, -0.1])


def chain(matrix):
    """Return inputs and states of 2 W steps of an affine recurrence, and how it goes on."""
    rng = np.random.default_rng(0)
    inputs = {
        "a": jnp.asarray(rng.normal(size=(2 * W, 1))),
        "b": jnp.asarray(rng.normal(size=(2 * W, 2))),
    }

    def step(x, u):
        return matrix @ x + EFFECT @ jnp.concatenate([u["a"], u["b"]]) + SHIFT

    start = jnp.array([1.0, 2.0])
    states = loop(step, start, inputs)
    before = jnp.concatenate([start[None], states[:-1]])
    cut = jax.tree.map(lambda leaf: (leaf[:W], leaf[W:]), inputs)
    first, second = ({k: cut[k][i] for k in cut} for i in (0, 1))
    return before[:W], states[:W], first, second, states[W:]


def dense(matrix):
    return DenseOperator(jnp.tile(jnp.asarray(matrix), (W, 1, 1)))


@pytest.mark.parametrize(
    ("matrix", "family"),
    [
        (MATRIX, dense),
        (np.diag([0.7, 0.9]), lambda a: DiagonalOperator(jnp.tile(jnp.diagonal(a), (W, 1)))),
        (np.zeros((2, 2)), lambda a: ZeroOperator(W)),
    ],
    ids=["dense", "diagonal", "zero"],
)
def test_an_affine_recurrence_goes_on_exactly(x64, matrix, family):
    operator = family(matrix)
    x, y, inputs, coming, expected = chain(matrix)
    found = continued(operator, x, y, inputs, coming, y[-1], jnp.full(2, 1e6))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_it_goes_no_further_than_the_reach(x64):
    operator = dense(MATRIX)
    x, y, inputs, coming, expected = chain(MATRIX)
    reach = jnp.array([0.1, 0.4])
    found = continued(operator, x, y, inputs, coming, y[-1], reach)
    moves, wanted = (np.asarray(z - y[-1]) / reach for z in (found, expected))
    size = np.sqrt(np.mean(wanted**2, axis=1, keepdims=True))
    np.testing.assert_allclose(moves, wanted / np.maximum(size, 1), atol=1e-3)
    assert (size > 1).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_leaves_the_last_state(x64, bad):
    operator = dense(MATRIX)
    x, y, inputs, coming, _ = chain(MATRIX)
    found = continued(operator, x, y.at[3].set(bad), inputs, coming, x[-1], jnp.ones(2))
    np.testing.assert_array_equal(found, np.tile(x[-1], (W, 1)))


def test_growth_leaves_the_last_state_or_stops_at_the_reach(x64):
    x, y, inputs, coming, _ = chain(MATRIX)
    for factor in (3.0, 1e200):
        operator = dense(factor * jnp.eye(2))
        found = continued(operator, x, y, inputs, coming, y[-1], jnp.ones(2))
        assert np.sqrt(np.mean((found - y[-1]) ** 2, axis=1)).max() <= 1 + 1e-12


def test_inputs_that_do_not_vary_do_no_harm(x64):
    x, y, _, _, expected = chain(np.diag([0.5, 0.5]))
    drives = jnp.ones((W, 1))
    operator = DiagonalOperator(jnp.full((W, 1), 0.5))
    found = continued(operator, x, y, drives, drives, y[-1], jnp.full(2, 1e6))
    drift = jnp.mean(y - 0.5 * x, axis=0)
    plain = loop(lambda z, _: 0.5 * z + drift, y[-1], jnp.zeros(W))
    np.testing.assert_allclose(found, plain)


def test_the_matrix_is_fitted_where_no_jacobian_is_known(x64):
    x, y, inputs, coming, expected = chain(MATRIX)
    operator = fitted_operator(x, y, inputs)
    np.testing.assert_allclose(operator.apply(x), x @ MATRIX.T, atol=1e-5)
    found = continued(operator, x, y, inputs, coming, y[-1], jnp.full(2, 1e6))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # What does not vary has no effect.
    still = fitted_operator(jnp.ones((W, 2)), y, inputs)
    assert np.abs(still.apply(x)).max() < 1e-6


@pytest.mark.parametrize(
    ("inputs", "window", "fits"),
    [
        (jnp.zeros((9, 4)), 8, True),
        (jnp.zeros((9, 4)), 7, False),
        ((jnp.zeros(9), jnp.zeros((9, 2, 2))), 10, True),
        ((jnp.zeros(9), jnp.zeros(9, int)), 10, False),
        (jax.random.split(jax.random.key(0), 9), 100, False),
        (jnp.zeros((9, 0)), 10, False),
        (jnp.zeros((9, MOST_DRIVES)), 100, True),
        (jnp.zeros((9, MOST_DRIVES + 1)), 100, False),
    ],
)
def test_what_inputs_are_fitted(inputs, window, fits):
    assert fits_inputs(inputs, window) is fits
    assert not fits_inputs(inputs, window, others=MOST_DRIVES)


def drift(x, u):
    return 0.95 * x + 0.1 * jnp.sin(x) + u


def test_a_sliding_window_takes_fewer_iterations(x64):
    drives = jax.random.normal(jax.random.key(0), (600, 2))
    settings = {"method": pmc.deer(), "window": 32}
    found = pmc.solve(drift, jnp.zeros(2), drives, **settings)
    np.testing.assert_allclose(found.states, loop(drift, jnp.zeros(2), drives), atol=1e-7)

    def stays(x, u):
        return drift(x, u[0])

    # A key among the inputs has no linear effect: the state stays.
    keys = jax.random.split(jax.random.key(1), 600)
    repeated = pmc.solve(stays, jnp.zeros(2), (drives, keys), **settings)
    np.testing.assert_allclose(repeated.states, found.states, atol=1e-7)
    assert int(found.iterations) < 0.95 * int(repeated.iterations)
