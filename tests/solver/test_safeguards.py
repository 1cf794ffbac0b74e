import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.solver.safeguards import FixedCap, LearnedCap, clip_length, secant

METHODS = {
    "picard": pmc.picard(),
    "quasi_deer": pmc.quasi_deer(),
    "deer": pmc.deer(),
}


def loop(step, start, inputs):
    def body(state, value):
        state = step(state, value)
        return state, state

    return jax.lax.scan(body, start, inputs)[1]


def cubic(x, u):
    """Contracts near the origin; far from it the Jacobian and the iterates explode."""
    return x - 0.1 * x**3 + u


def logarithm(x, u):
    """Not a number for arguments below -1."""
    return 0.5 * jnp.log1p(x) + u


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_wild_guess_does_no_harm(x64, method):
    inputs = 0.3 * jax.random.normal(jax.random.key(0), (60, 3))
    guess = jnp.full((60, 3), 1e200).at[::2].set(-1e60)
    solution = pmc.solve(cubic, jnp.zeros(3), inputs, method=method, initial_guess=guess)
    assert bool(solution.converged) and int(solution.fallback_steps) == 0
    np.testing.assert_allclose(solution.states, loop(cubic, jnp.zeros(3), inputs), atol=1e-6)
    assert np.isinf(solution.residual_history[0])


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_nan_at_wild_iterates_does_not_spread(x64, method):
    inputs = jax.random.uniform(jax.random.key(0), (60, 2)) + 0.2
    guess = jnp.ones((60, 2)).at[5::9].set(-50.0)
    assert np.isnan(jax.vmap(logarithm)(guess, inputs)).any()
    solution = pmc.solve(logarithm, jnp.ones(2), inputs, method=method, initial_guess=guess)
    assert bool(solution.converged) and int(solution.fallback_steps) == 0
    np.testing.assert_allclose(solution.states, loop(logarithm, jnp.ones(2), inputs), atol=1e-8)


@pytest.mark.parametrize("window", [None, 8])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_chain_that_becomes_nan(x64, method, window):
    bad = 23
    inputs = jnp.full((40, 2), 0.5).at[bad].set(-3.0)
    expected = loop(logarithm, jnp.ones(2), inputs)
    # The step after the bad input takes the logarithm of a negative number.
    assert np.isfinite(expected[: bad + 1]).all() and np.isnan(expected[bad + 1 :]).all()
    with pytest.warns(pmc.SequentialFallbackWarning, match="of 40 steps"):
        solution = pmc.solve(logarithm, jnp.ones(2), inputs, method=method, window=window)
    assert not bool(solution.converged)
    assert int(solution.fallback_steps) >= 40 - (bad + 1)
    np.testing.assert_allclose(solution.states, expected, atol=1e-8)


def test_chaos_falls_back_to_the_sequential_trajectory():
    def logistic(x, _):
        return 4 * x * (1 - x)

    inputs = jnp.zeros(300)
    with pytest.warns(pmc.SequentialFallbackWarning):
        solution = pmc.solve(
            logistic, jnp.array(0.3), inputs, method=pmc.picard(), max_iterations=5
        )
    done = 300 - int(solution.fallback_steps)
    assert not bool(solution.converged)
    assert 0 < done < 60
    # From the last state that the iteration reached, step by step.
    states = np.asarray(solution.states)
    onward = loop(logistic, jnp.asarray(states[done - 1]), inputs[done:])
    np.testing.assert_array_equal(states[done:], onward)
    # An error of rounding doubles a step; the states certified in parallel carry no more.
    sequential = loop(logistic, jnp.array(0.3), inputs)
    np.testing.assert_allclose(states[:done], sequential[:done], atol=1e-3)


@pytest.mark.parametrize(
    "max_norm", [None, 0.9, pmc.LearnedCap()], ids=["none", "fixed", "learned"]
)
@pytest.mark.parametrize("radius", [None, 0.5])
def test_every_safeguard_leads_to_the_same_states(x64, max_norm, radius):
    inputs = 0.3 * jax.random.normal(jax.random.key(0), (60, 3))
    method = pmc.Newton(pmc.Dense(), max_norm=max_norm, radius=radius, damping=0.95)
    solution = pmc.solve(cubic, jnp.zeros(3), inputs, method=method)
    assert bool(solution.converged)
    np.testing.assert_allclose(solution.states, loop(cubic, jnp.zeros(3), inputs), atol=1e-6)


def test_learned_cap_grows_shrinks_and_opens():
    cap = pmc.LearnedCap()
    new = cap.update(
        jnp.ones(4),
        jnp.full(4, 0.5),
        jnp.array([0.01, 0.2, 5.0, 5.0]),
        jnp.array([1.0, 1.0, 1.0, 0.0]),
    )
    np.testing.assert_allclose(new, [2.0, 1.0, 0.15, 1000.0], rtol=1e-6)


def test_learned_cap_has_limits_and_takes_ties_for_good():
    cap = pmc.LearnedCap(
        start=2.0, grow=4.0, good=0.25, shrink=0.5, bad=0.5, smallest=0.25, largest=8.0
    )
    np.testing.assert_array_equal(cap.initial(3, jnp.float32), [2, 2, 2])
    new = cap.update(
        jnp.array([4.0, 0.25, 2.0, 2.0, 2.0, 2.0]),
        jnp.array([9.0, 9.0, 1.5, 9.0, 9.0, 9.0]),
        jnp.array([0.25, 2.0, 2.0, 0.5, 1.0, 0.0]),
        jnp.array([2.0, 2.0, 2.0, 2.0, 2.0, 0.0]),
    )
    # Largest; smallest; half the norm; neither good nor bad at both ends; no move.
    np.testing.assert_array_equal(new, [8, 0.25, 0.75, 2, 2, 8])


def test_fixed_cap_stays():
    cap = FixedCap(0.5)
    initial = cap.initial(2, jnp.float32)
    np.testing.assert_array_equal(initial, [0.5, 0.5])
    assert cap.update(initial, initial, 10 * initial, initial) is initial


@pytest.mark.parametrize("cap", [FixedCap(0.5), LearnedCap(start=0.5)])
def test_caps_are_immutable_and_pass_through_jit(cap):
    with pytest.raises(dataclasses.FrozenInstanceError):
        cap.start = 1.0
    assert jax.jit(lambda cap: cap)(cap) == cap
    assert FixedCap(np.inf).initial(2, jnp.float32).tolist() == [np.inf, np.inf]


def test_secant_explains_the_last_move_and_nothing_at_right_angles():
    miss = jnp.array([[1.0, 1.0], [1.0, 0.0], [1.0, 1.01], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    step = jnp.array([[2.0, 2.0], [0.0, 4.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0], [2.0, 2.0]])
    trusted = jnp.array([True, True, True, True, True, False])
    rank_one = secant(miss, step, trusted)
    # Half the move, the longest that is believed, and shorter; too long; no move; not trusted.
    expected = jnp.where(jnp.arange(6)[:, None] < 2, miss, 0)
    np.testing.assert_allclose(rank_one.apply(step), expected, rtol=1e-6)
    across = step[:, ::-1] * jnp.array([1.0, -1.0])
    np.testing.assert_array_equal(rank_one.apply(across), np.zeros((6, 2)))


def test_clip_length_bounds_the_root_mean_square():
    v = jnp.array([[6.0, 8.0, 0.0, 0.0], [0.3, 0.4, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    expected = [[0.6, 0.8, 0, 0], [0.3, 0.4, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(clip_length(v, 0.5), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_norm": 0.0}, "max_norm must be positive"),
        ({"max_norm": float("nan")}, "max_norm must be positive"),
        ({"damping": 0.0}, r"damping must be in \(0, 1\]"),
        ({"damping": 1.5}, r"damping must be in \(0, 1\]"),
        ({"radius": -1.0}, "radius must be positive"),
    ],
)
def test_bad_safeguards(arguments, message):
    with pytest.raises(ValueError, match=message):
        pmc.Newton(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"smallest": 0.0}, "smallest must be positive"),
        ({"grow": float("nan")}, "grow must be positive"),
        ({"grow": 0.5}, "grow must be at least 1, got 0.5"),
        ({"shrink": 1.5}, "shrink must be at most 1, got 1.5"),
        ({"good": 0.7}, "good must be at most 0.6, got 0.7"),
        ({"start": 2000.0}, "start must be at most 1000.0, got 2000.0"),
        ({"smallest": 2.0}, "smallest must be at most 1.0, got 2.0"),
    ],
)
def test_bad_learned_cap(arguments, message):
    with pytest.raises(ValueError, match=message):
        pmc.LearnedCap(**arguments)
    assert pmc.LearnedCap(grow=1, shrink=1, good=0.3, start=0.03).start == 0.03
