"""Stretches side by side, on recurrences whose every round can be followed by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.chart import Euclidean
from parallel_mcmc.solver.lanes import shoot
from parallel_mcmc.solver.recurrence import Recurrence, plain_recurrence

T = 20


def run(step, starts, inputs, lanes, *, rounds=100, tolerance=1e-6, guess=None, left=None):
    return shoot(
        plain_recurrence(step),
        starts,
        inputs,
        lanes=lanes,
        max_rounds=rounds,
        tolerance=tolerance,
        scale=jnp.ones(1),
        initial_guess=guess,
        left=left,
    )[0]


def forget(x, u):
    """Return the input: two states are the same after one step."""
    return 0 * x + u


def add(x, u):
    """Add up the inputs: an error of the argument neither grows nor shrinks."""
    return x + u


def halve(x, u):
    return 0.5 * x + u


INPUTS = jnp.arange(1.0, T + 1)[None, :, None] ** 2
SUMS = np.cumsum(np.arange(1, T + 1) ** 2)[None, :, None]
START = jnp.zeros((1, 1))


def test_lanes_that_meet_at_their_first_step_take_one_batch_more():
    solution = run(forget, START, INPUTS, 4)
    np.testing.assert_array_equal(solution.states, INPUTS)
    assert solution.converged.tolist() == [True]
    assert solution.iterations.tolist() == [2]
    assert solution.evaluations.tolist() == [(T // 4 + 1) * 4]
    assert solution.fallback_steps.tolist() == [0]
    assert solution.residual.tolist() == [0]
    # Lane b should have begun at (5 b)², and began at 0.
    np.testing.assert_allclose(solution.residual_history[0, 0], 15**2, rtol=1e-5)
    assert solution.residual_history[0, 1] == 0
    assert np.isnan(solution.residual_history[0, 2:]).all()


def test_lanes_that_never_meet_are_found_one_a_round():
    solution = run(add, START, INPUTS, 4)
    np.testing.assert_array_equal(solution.states, SUMS)
    assert solution.converged.tolist() == [True]
    assert solution.iterations.tolist() == [4]
    assert solution.evaluations.tolist() == [4 * T]


@pytest.mark.parametrize("rounds", [2, 3])
def test_the_loop_finishes_what_the_rounds_leave(rounds):
    solution = run(add, START, INPUTS, 4, rounds=rounds)
    left = T - rounds * T // 4
    np.testing.assert_array_equal(solution.states, SUMS)
    assert solution.converged.tolist() == [False]
    assert solution.fallback_steps.tolist() == [left]
    assert solution.evaluations.tolist() == [rounds * T + left]
    assert solution.residual.tolist() == [0]


def test_a_lane_goes_on_until_it_is_within_the_tolerance_of_its_old_path(x64):
    length, tolerance = 40, 1e-3
    inputs = jnp.ones((1, 2 * length, 1))
    start = jnp.zeros((1, 1))
    solution = run(halve, start, inputs, 2, tolerance=tolerance)
    # The second lane began at 0 where it should have begun at about 2: 2^(1 - t) after t steps.
    steps = 1 - int(np.floor(np.log2(tolerance)))
    assert 2.0 ** (1 - steps) <= tolerance < 2.0 ** (2 - steps)
    assert solution.evaluations.tolist() == [2 * (length + steps)]
    np.testing.assert_allclose(solution.residual, 2.0 ** (1 - steps), rtol=1e-8)
    expected = jax.lax.scan(lambda x, u: (halve(x, u),) * 2, start[0], inputs[0])[1]
    error = np.abs(solution.states[0] - expected)
    assert 0 < error.max() <= tolerance
    # Each edge but the one where the paths meet is exact.
    edges = np.abs(halve(solution.states[0, :-1], 1.0) - solution.states[0, 1:])
    assert np.flatnonzero(edges > 1e-15).tolist() == [length + steps - 2]


def test_a_tolerance_of_zero_goes_on_to_the_same_bits():
    inputs = jax.random.normal(jax.random.key(0), (1, 400, 1))
    solution = run(halve, START, inputs, 4, tolerance=0)
    expected = jax.lax.scan(lambda x, u: (halve(x, u),) * 2, START[0], inputs[0])[1]
    np.testing.assert_array_equal(solution.states[0], expected)
    assert solution.residual.tolist() == [0]
    assert solution.evaluations < 2 * 400


@pytest.mark.parametrize("lanes", [1, 3, 50])
def test_any_number_of_lanes(lanes):
    solution = run(add, START, INPUTS, lanes)
    np.testing.assert_array_equal(solution.states, SUMS)
    length = -(-T // lanes)
    assert solution.iterations.tolist() == [-(-T // length)]


def test_an_exact_guess_is_found_at_once():
    guess = jnp.asarray(SUMS, jnp.float32)
    solution = run(add, START, INPUTS, 4, guess=guess)
    np.testing.assert_array_equal(solution.states, guess)
    assert solution.iterations.tolist() == [1]
    assert solution.evaluations.tolist() == [T]


def test_a_wrong_guess_is_mended():
    solution = run(halve, START, INPUTS, 4, guess=jnp.full((1, T, 1), 1e6))
    expected = jax.lax.scan(lambda x, u: (halve(x, u),) * 2, START[0], INPUTS[0])[1]
    np.testing.assert_allclose(solution.states[0], expected, rtol=1e-6)


def test_chains_share_the_rounds_and_keep_their_own_counts():
    """The first chain never moves, so that its lanes began where they should."""
    inputs = jnp.concatenate([jnp.zeros_like(INPUTS), INPUTS])
    solution = run(add, jnp.zeros((2, 1)), inputs, 4, rounds=2)
    np.testing.assert_array_equal(solution.states, np.concatenate([0 * SUMS, SUMS]))
    assert solution.converged.tolist() == [True, False]
    assert solution.fallback_steps.tolist() == [0, T // 2]
    widest = [0, SUMS[0, 14, 0] - SUMS[0, 9, 0]]
    np.testing.assert_allclose(solution.residual_history[:, 0], widest, rtol=1e-5)


def test_steps_beyond_the_chain_do_not_count():
    solution = run(add, START, INPUTS, 4, rounds=2, left=13)
    assert solution.fallback_steps.tolist() == [3]
    np.testing.assert_array_equal(solution.states[:, :13], SUMS[:, :13])
    assert run(add, START, INPUTS, 4, rounds=2, left=10).converged.tolist() == [True]


def test_what_is_no_coordinate_must_agree():
    """A counter never forgets where it began."""

    def step(state, u):
        return {"x": 0 * state["x"] + u, "n": state["n"] + 1}

    start = {"x": START, "n": jnp.zeros(1, int)}
    solution = run(step, start, INPUTS, 4)
    np.testing.assert_array_equal(solution.states["n"], np.arange(1, T + 1)[None])
    np.testing.assert_array_equal(solution.states["x"], INPUTS)
    assert solution.iterations.tolist() == [4]


def test_what_is_not_finite_is_left_to_the_loop():
    inputs = jnp.ones((1, T, 1))
    solution = run(lambda x, u: u / x, START, inputs, 4, rounds=3)
    np.testing.assert_array_equal(solution.states[0, :, 0], [np.inf, 0] * (T // 2))
    assert not solution.converged[0] and solution.fallback_steps[0] > 0


def test_the_scale_is_observed_along_the_exact_lane(x64):
    inputs = 1e6 * jax.random.normal(jax.random.key(0), (1, 400, 1))
    recurrence, start = plain_recurrence(halve), jnp.zeros((1, 1))
    solution = shoot(recurrence, start, inputs, lanes=4, max_rounds=9, tolerance=1e-6)[0]
    expected = jax.lax.scan(lambda x, u: (halve(x, u),) * 2, start[0], inputs[0])[1]
    size = float(jnp.sqrt(jnp.mean(expected[:100] ** 2)))
    assert 0 < solution.residual[0] <= 1e-6
    error = np.abs(solution.states[0] - expected).max()
    np.testing.assert_allclose(error, solution.residual[0] * size, rtol=0.01)


def noisy_decision(x, u):
    """Halve the state, and add 1 where ``u`` is positive up to a noise of a millionth."""
    noise = 1e-6 * jnp.sin(1e12 * x[0])
    up = u[0] + noise > 0
    return 0.5 * x + up, up


def agree(x, u, up):
    return u + jnp.where(up, 1e-5, -1e-5)


def test_a_tie_is_decided_as_before(x64):
    """Every tenth decision is a tie, which lanes that were nearly on their path depart by."""
    numbers = np.random.default_rng(0).normal(size=(1, 4000, 1))
    numbers[:, ::10] = 0
    start = jnp.zeros((1, 1))
    recurrence = Recurrence(noisy_decision, Euclidean())
    settings = {"lanes": 8, "max_rounds": 20, "tolerance": 1e-9, "scale": jnp.ones(1)}
    departs, _ = shoot(recurrence, start, jnp.asarray(numbers), **settings)
    solution, up = shoot(
        dataclasses.replace(recurrence, agree=agree), start, jnp.asarray(numbers), **settings
    )
    assert solution.iterations[0] == 2 and solution.evaluations[0] < departs.evaluations[0]
    # Each step is a true one but for its ties.
    before = jnp.concatenate([start[:, None], solution.states[:, :-1]], axis=1)
    np.testing.assert_allclose(solution.states, 0.5 * before + up[..., None], atol=1e-9)
    clear = numbers[..., 0] != 0
    np.testing.assert_array_equal(up[clear], numbers[..., 0][clear] > 0)


def test_in_the_first_round_there_is_nothing_to_agree_with():
    """All of it is the first lane's, whose record is of zeros."""
    recurrence = Recurrence(lambda x, u: (x + u, u), Euclidean(), agree=lambda x, u, aux: u + 1)
    found, _ = shoot(
        recurrence, START, INPUTS, lanes=1, max_rounds=3, tolerance=1e-6, scale=jnp.ones(1)
    )
    np.testing.assert_array_equal(found.states, SUMS)
