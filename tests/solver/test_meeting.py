"""Lanes that go on to their old paths: all in one batch, or the last of them in a smaller one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.lanes import shoot
from parallel_mcmc.solver.meeting import Meeting, Paths, go_on
from parallel_mcmc.solver.recurrence import plain_recurrence

LENGTH, LANES, TOLERANCE = 40, 8, 1e-3
STEPS = np.array([3, 12, 0, 30, 5, 0, 20, 1])
"""Those after which a lane is within the tolerance of its path, which is zero; 0 where it stays."""
STARTS = np.where(STEPS > 0, 0.75 * TOLERANCE * 2.0**STEPS, 0.0)


def halve(x, u):
    return 0.5 * x + u


def largest_difference(new, old, sizes):
    return jnp.max(jnp.abs(new - old) / sizes, axis=-1)


def walked(few, *, again=True, sizes=1.0, unit=1.0):
    """Return the paths of lanes that were at zero and begin elsewhere, and the evaluations."""
    zeros = jnp.zeros((LENGTH, LANES, 1))
    meeting = Meeting(plain_recurrence(halve), largest_difference, TOLERANCE, jnp.array(again))
    return go_on(
        meeting,
        Paths(zeros, (), jnp.zeros(LANES)),
        zeros,
        jnp.asarray((unit * STARTS)[:, None]),
        jnp.asarray(STARTS != 0),
        jnp.asarray(sizes),
        few,
    )


def expected_states():
    """Return where lanes are, up to where they meet their path."""
    steps = 1 + np.arange(LENGTH)[:, None]
    return np.where(steps < STEPS, STARTS * 0.5**steps, 0)


@pytest.mark.parametrize(
    ("few", "evaluations"),
    [
        (0, 30 * LANES),
        (1, 20 * LANES + 10),
        (2, 12 * LANES + 18 * 2),
        (3, 5 * LANES + 25 * 3),
        # Some of the batch are no lanes that are left.
        (5, 1 * LANES + 29 * 5),
        (LANES, 30 * LANES),
    ],
)
def test_the_last_lanes_are_a_batch_of_their_own(few, evaluations, x64):
    paths, made = walked(few)
    np.testing.assert_array_equal(paths.states[..., 0], expected_states())
    np.testing.assert_allclose(paths.spliced, np.where(STEPS > 0, 0.75 * TOLERANCE, 0))
    assert made == evaluations


@pytest.mark.parametrize("few", [0, 2])
def test_every_lane_may_have_its_own_scale(few, x64):
    sizes = 2.0 ** np.arange(LANES)
    paths, made = walked(few, sizes=sizes[:, None], unit=sizes)
    np.testing.assert_array_equal(paths.states[..., 0], sizes * expected_states())
    assert made == (30 * LANES if few == 0 else 12 * LANES + 18 * 2)


@pytest.mark.parametrize("few", [0, 2, LANES])
def test_lanes_without_an_old_path_go_on_to_their_ends(few, x64):
    paths, made = walked(few, again=False)
    ends = np.where(STEPS > 0, STARTS * 0.5 ** (1 + np.arange(LENGTH)[:, None]), 0)
    np.testing.assert_array_equal(paths.states[..., 0], ends)
    assert made == LENGTH * LANES
    assert not paths.spliced.any()


@pytest.mark.parametrize("few", [1, 3, 8])
def test_chains_are_the_same_whoever_goes_on_by_themselves(few, x64):
    inputs = jax.random.normal(jax.random.key(0), (2, 8 * LENGTH, 3))
    settings = {"lanes": 8, "max_rounds": 9, "tolerance": 1e-9, "scale": jnp.ones(3)}
    recurrence, starts = plain_recurrence(halve), jnp.ones((2, 3))
    expected, _ = shoot(recurrence, starts, inputs, **settings)
    solution, _ = shoot(recurrence, starts, inputs, few=few, **settings)
    np.testing.assert_array_equal(solution.states, expected.states)
    assert solution.converged.all()
    assert (solution.evaluations <= expected.evaluations).all()
    observed, _ = shoot(recurrence, starts, inputs, few=few, **settings | {"scale": None})
    np.testing.assert_allclose(observed.states, expected.states, atol=1e-8)
    within_jit = jax.jit(lambda *given: shoot(recurrence, *given, few=few, **settings)[0].states)
    np.testing.assert_array_equal(within_jit(starts, inputs), solution.states)
