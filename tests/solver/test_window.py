import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.solver import chaos, system
from parallel_mcmc.solver.recurrence import plain_recurrence


def add(x, u):
    """Add up the inputs: an error of the argument neither grows nor shrinks."""
    return x + u


INPUTS = jnp.arange(1.0, 11.0)[:, None] ** 2
SUMS = np.cumsum(np.arange(1, 11) ** 2)[:, None]


def solve(size, max_iterations, *, step=add, inputs=INPUTS, method=None, start=0.0, guess=None):
    return system.solve_recurrence(
        plain_recurrence(step),
        pmc.jacobi() if method is None else method,
        jnp.full(1, start),
        inputs,
        window=size,
        max_iterations=max_iterations,
        tolerance=0.1,
        scale=jnp.ones(1),
        initial_guess=guess,
    )[0]


@pytest.mark.parametrize("size", [3, 4, 9, 10])
def test_jacobi_finds_one_state_an_iteration(size):
    solution = solve(size, 100)
    np.testing.assert_array_equal(solution.states, SUMS)
    assert bool(solution.converged) and int(solution.fallback_steps) == 0
    assert int(solution.iterations) == 10
    assert int(solution.evaluations) == 10 * size
    assert float(solution.residual) == 0


@pytest.mark.parametrize("size", [4, 10])
@pytest.mark.parametrize("budget", [1, 3])
def test_the_loop_finishes_what_the_budget_leaves(size, budget):
    solution = solve(size, budget)
    np.testing.assert_array_equal(solution.states, SUMS)
    assert not bool(solution.converged)
    assert int(solution.iterations) == budget
    assert int(solution.fallback_steps) == 10 - budget
    assert int(solution.evaluations) == budget * size + 10 - budget


@pytest.mark.parametrize("size", [4, 10])
def test_an_exact_guess_is_found_at_once(size):
    guess = jnp.asarray(SUMS, jnp.float32)
    solution = solve(size, 100, guess=guess)
    np.testing.assert_array_equal(solution.states, guess)
    assert int(solution.iterations) == -(-10 // size)
    np.testing.assert_array_equal(solution.residual_history[: -(-10 // size)], 0)


@pytest.mark.parametrize("size", [2, 4])
def test_the_loop_starts_from_the_start_where_no_state_is_found(size):
    solution = solve(size, 9, step=lambda x, u: u / x, inputs=jnp.ones((4, 1)))
    assert int(solution.fallback_steps) == 4
    assert int(solution.iterations) == 1
    np.testing.assert_array_equal(solution.states[:, 0], [np.inf, 0, np.inf, 0])


@pytest.mark.parametrize(
    ("size", "budget", "iterations", "found"),
    [
        # Errors grow by e^22 over the window, and the pace is too slow for the budget, or not.
        (32, 30, chaos.PROBATION, False),
        (32, 40, 32, True),
        # Errors grow by e^11.
        (16, 30, 30, False),
    ],
)
def test_chaos_stops_only_what_the_budget_would_not_suffice_for(
    x64, size, budget, iterations, found
):
    bounded = jax.random.normal(jax.random.key(0), (513, 1)).at[0].set(0.0)
    inputs = bounded[1:] - 2 * bounded[:-1]
    solution = solve(
        size,
        budget,
        step=lambda x, u: 2 * x + u,
        inputs=inputs,
        method=pmc.Newton(pmc.Dense(), max_norm=None, radius=None, stride=1),
    )
    np.testing.assert_allclose(solution.growth, np.log(2))
    assert int(solution.iterations) == iterations
    assert bool(solution.converged) is found
    # An error of rounding doubles at every step, but each step is right.
    before = np.concatenate([[[0.0]], solution.states[:-1]])
    np.testing.assert_allclose(solution.states, 2 * before + inputs, rtol=1e-12, atol=0.1)
