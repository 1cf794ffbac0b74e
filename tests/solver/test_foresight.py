"""What is foreseen, on recurrences that guess well, badly, or not in finite numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.foresight import EVALUATIONS, TRUSTED, foreseen
from parallel_mcmc.solver.lanes import shoot
from parallel_mcmc.solver.recurrence import plain_recurrence

INPUTS = np.random.default_rng(0).normal(size=(512, 2))


def halve(x, u):
    return 0.5 * x + u


def recurrence(error):
    """Return one that guesses all its states, ``error`` off."""

    def predict(state, inputs):
        return jax.lax.scan(lambda x, u: (halve(x, u),) * 2, state, inputs)[1] + error

    return dataclasses.replace(plain_recurrence(halve), predict=predict)


def distance(new, old):
    return jnp.abs(new - old).max(axis=1)


def ends(error, steps=8, lanes=3):
    states = jnp.full((lanes, 2), 5.0)
    inputs = jnp.asarray(INPUTS[:steps] + np.arange(lanes)[:, None, None])
    found = foreseen(recurrence(error), states, inputs, jnp.full(lanes, steps), distance)
    exact = jax.lax.scan(lambda x, u: (halve(x, u), None), states, inputs.swapaxes(0, 1))[0]
    return np.asarray(found), np.asarray(states), np.asarray(exact)


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_where_the_guess_is_right_so_is_the_state(steps):
    found, _, exact = ends(0.0, steps)
    np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_a_guess_that_is_nearly_right_is_followed_by_a_true_step():
    """Of an error e of all states the true step leaves e / 2, and is as far from the guess."""
    error = 1.9 * TRUSTED
    found, _, exact = ends(error)
    np.testing.assert_allclose(found, exact + error / 2, rtol=1e-5)


@pytest.mark.parametrize("error", [2.1 * TRUSTED, jnp.nan, jnp.inf])
def test_a_guess_that_the_step_does_not_confirm_is_not_trusted(error):
    found, states, _ = ends(error)
    np.testing.assert_array_equal(found, states)


def test_every_sequence_is_judged_by_itself():
    _, _, exact = ends(0.0)
    steps = jnp.asarray(INPUTS[:8])
    inputs = jnp.stack([steps, steps.at[-1].set(jnp.nan)])
    counts = jnp.array([8, 8])
    found = foreseen(recurrence(0.0), jnp.full((2, 2), 5.0), inputs, counts, distance)
    np.testing.assert_allclose(found[0], exact[0], rtol=1e-6)
    np.testing.assert_array_equal(found[1], [5.0, 5.0])


def test_a_sequence_may_be_shorter_than_its_inputs():
    """Those after it may be anything."""
    inputs = jnp.broadcast_to(jnp.asarray(INPUTS[:8]), (3, 8, 2)).at[1:, 5:].set(jnp.nan)
    states, counts = jnp.full((3, 2), 5.0), jnp.array([8, 5, 1])
    found = foreseen(recurrence(0.0), states, inputs, counts, distance)
    path = jax.lax.scan(lambda x, u: (halve(x, u),) * 2, states[0], inputs[0])[1]
    np.testing.assert_allclose(found, path[counts - 1], rtol=1e-6)


def loop():
    return jax.lax.scan(lambda x, u: (halve(x, u),) * 2, jnp.zeros(2), jnp.asarray(INPUTS))[1]


def shot(error, foresight, tolerance=1e-6, **settings):
    return shoot(
        recurrence(error),
        jnp.zeros((1, 2)),
        jnp.asarray(INPUTS)[None],
        lanes=4,
        max_rounds=9,
        tolerance=tolerance,
        scale=jnp.ones(2),
        foresight=foresight,
        **settings,
    )[0]


def test_lanes_that_are_foreseen_are_made_once(x64):
    """Of an error 16 steps before a lane 2^-16 is left; the first lane has nothing to foresee."""
    unseen, seen = shot(0.0, 0, 1e-3), shot(0.0, 16, 1e-3)
    assert unseen.iterations.tolist() == [2] and seen.iterations.tolist() == [1]
    assert unseen.evaluations[0] > 512 + 3 * EVALUATIONS == seen.evaluations[0]
    np.testing.assert_allclose(seen.states[0], loop(), atol=1e-3)


@pytest.mark.parametrize("error", [0.1, 3.0])
def test_the_chain_does_not_depend_on_what_is_foreseen(x64, error):
    # Longer than a lane of 128 steps, and than the steps before the second of them.
    for foresight in (1, 7, 16, 200, 1000):
        np.testing.assert_allclose(shot(error, foresight).states[0], loop(), atol=2e-6)


def test_a_guess_that_is_given_comes_first():
    given = shot(3.0, 16, initial_guess=jnp.zeros((1, 512, 2)))
    assert given.evaluations.tolist() == shot(0.0, 0).evaluations.tolist()
