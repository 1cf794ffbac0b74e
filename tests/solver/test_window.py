import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.solver import window
from parallel_mcmc.solver.newton import Iteration
from parallel_mcmc.solver.recurrence import plain_recurrence

NOTHING = ()


def outcome(residual, finite=True):
    residual = jnp.asarray(residual, float)
    finite = jnp.broadcast_to(jnp.asarray(finite), residual.shape)
    memory = model = gap = NOTHING
    return Iteration(NOTHING, NOTHING, NOTHING, memory, model, finite, gap, residual)


@pytest.mark.parametrize(
    ("residual", "finite", "left", "edges", "accepted", "blocked"),
    [
        # An exact argument makes an exact value: one more than the edges that agree.
        ([0, 0.5, 9, 0], True, 9, 2, 3, False),
        ([9, 0, 0, 0], True, 9, 0, 1, False),
        ([0, 0, 0, 0], True, 9, 4, 4, False),
        ([0, 0, 0, 9], True, 9, 3, 4, False),
        # The tolerance itself agrees, and nothing that is no number.
        ([1, 1.01, 0, 0], True, 9, 1, 2, False),
        ([0, np.nan, 0, 0], True, 9, 1, 2, False),
        ([0, np.inf, 0, 0], True, 9, 1, 2, False),
        # Beyond the chain's end nothing counts.
        ([0, 9, 9, 9], True, 2, 1, 2, False),
        ([0, 0, 9, 9], True, 2, 4, 2, False),
        ([9, 9, 9, 9], True, 1, 0, 1, False),
        ([0, 0, 0, 9], True, 4, 3, 4, False),
        ([9, 0, 0, 0], True, 4, 0, 1, False),
        # A value that is not finite is not accepted, and if it is exact it ends the search.
        ([0, np.inf, 9, 9], [True, False, True, True], 9, 1, 1, True),
        ([9, np.inf, 9, 9], [False, True, True, True], 9, 0, 0, True),
        ([0, 9, np.inf, 9], [True, True, False, True], 9, 1, 2, False),
        ([0, 0, 0, np.inf], [True, True, True, False], 9, 3, 3, True),
        ([0, 0, np.inf, 9], [True, True, False, True], 2, 4, 2, False),
    ],
)
def test_found_prefix(residual, finite, left, edges, accepted, blocked):
    found = window.found_prefix(outcome(residual, finite), 1.0, left)
    assert (int(found.edges), int(found.accepted)) == (edges, accepted)
    assert bool(found.blocked) is blocked


def test_slices_along_time():
    tree = {"a": jnp.arange(5), "b": jnp.arange(10).reshape(5, 2)}
    part = window.section(tree, 1, 3)
    np.testing.assert_array_equal(part["a"], [1, 2, 3])
    np.testing.assert_array_equal(part["b"], [[2, 3], [4, 5], [6, 7]])
    tail = {"a": 10 + jnp.arange(5), "b": 10 + jnp.arange(10).reshape(5, 2)}
    moved = window.shifted(tree, tail, 2)
    np.testing.assert_array_equal(moved["a"], [2, 3, 4, 10, 11])
    np.testing.assert_array_equal(moved["b"][-1], [12, 13])
    padded = window.padded_by(tree, 2)
    np.testing.assert_array_equal(padded["a"], [0, 1, 2, 3, 4, 4, 4])
    np.testing.assert_array_equal(padded["b"][4:], [[8, 9]] * 3)
    assert window.padded_by(tree, 0) is tree


def count(x, u):
    """Add up the inputs: an error of the argument neither grows nor shrinks."""
    return x + u


def solve(size, max_iterations, total=10, step=count, method=None, guess=None):
    return window.solve_recurrence(
        plain_recurrence(step),
        pmc.jacobi() if method is None else method,
        jnp.zeros(1),
        jnp.ones((total, 1)),
        window=size,
        max_iterations=max_iterations,
        tolerance=0.1,
        scale=jnp.ones(1),
        initial_guess=guess,
    )[0]


@pytest.mark.parametrize("size", [3, 4, 9, 10])
def test_jacobi_finds_one_state_an_iteration(size):
    solution = solve(size, 100)
    np.testing.assert_array_equal(solution.states[:, 0], np.arange(1, 11))
    assert bool(solution.converged) and int(solution.fallback_steps) == 0
    # The first iteration makes one state exact; from then on the state found moves no more.
    assert int(solution.iterations) == 10
    assert int(solution.evaluations) == 10 * size
    assert float(solution.residual) == 0


@pytest.mark.parametrize("size", [4, 10])
def test_the_loop_finishes_what_the_budget_leaves(size):
    solution = solve(size, 3)
    np.testing.assert_array_equal(solution.states[:, 0], np.arange(1, 11))
    assert not bool(solution.converged)
    assert int(solution.iterations) == 3
    assert int(solution.fallback_steps) == 7
    assert int(solution.evaluations) == 3 * size + 7


@pytest.mark.parametrize("size", [4, 10])
def test_an_exact_guess_is_found_at_once(size):
    guess = jnp.arange(1.0, 11.0)[:, None]
    solution = solve(size, 100, guess=guess)
    np.testing.assert_array_equal(solution.states, guess)
    assert int(solution.iterations) == -(-10 // size)
    np.testing.assert_array_equal(solution.residual_history[: -(-10 // size)], 0)
