import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.solver import newton
from parallel_mcmc.solver.recurrence import plain_recurrence
from parallel_mcmc.solver.residual import observed_scale

EPS = float(np.finfo(np.float32).eps)


def test_contraction_is_the_larger_of_what_was_seen_and_the_model():
    change = jnp.array([[3.0, 4.0], [0.3, 0.4], [0.15, 0.2], [30.0, 40.0], [0.3, 0.4], [0.3, 0.4]])
    move = jnp.array([[6.0, 8.0], [6.0, 8.0], [0.3, 0.4], [6.0, 8.0], [0.0, 0.0], [6.0, 8.0]])
    norm = jnp.array([0.25, 0.75, 0.25, 0.25, 0.25, 0.25])
    known = jnp.array([True, True, True, True, True, False])
    # Seen; the model; seen of a short move; at most 1; no move; no iteration before.
    expected = [0.5, 0.75, 0.5, 1, 1, 1]
    actual = newton._contraction(change, move, norm, known)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("length", [256, 257, 600])
def test_spread_is_the_standard_deviation_but_for_a_few_wild_states(length):
    x = 2.0 * jax.random.normal(jax.random.key(0), (length, 3)) + 7
    x = x.at[4].set(1e20)
    stride = -(-length // newton.SPREAD_STATES)
    some = np.asarray(x)[::stride]
    expected = np.median(np.abs(some - np.median(some, axis=0)), axis=0) / 0.6745
    np.testing.assert_allclose(newton._spread(x), expected, rtol=1e-5)
    np.testing.assert_allclose(newton._spread(x), 2, rtol=0.3)


SLOPE = 0.5


def affine(x, u):
    return SLOPE * x + u


def iteration(method, guess, inputs, *, step=affine, memory=None, scale=1.0, anchor=None):
    memory = method.initial_memory(*guess.shape, guess.dtype) if memory is None else memory
    anchor = jnp.zeros(guess.shape[1]) if anchor is None else anchor
    scale = None if scale is None else jnp.asarray(scale)
    recurrence = plain_recurrence(step)
    return newton.newton_iteration(
        method,
        recurrence,
        anchor,
        guess,
        inputs,
        memory,
        scale,
        jnp.array(0),
        tolerance=1e-6,
        left=len(guess),
    )


GUESS = jnp.array([[8.0], [4.0], [2.0]])
INPUTS = jnp.ones((3, 1))
# One step from the guess, and the three steps of the recurrence.
VALUES = np.array([[1.0], [5.0], [3.0]])
EXACT = np.array([[1.0], [1.5], [1.75]])


def test_one_iteration_solves_an_affine_recurrence(x64):
    method = pmc.Newton(pmc.Dense(), max_norm=None, radius=None)
    found = iteration(method, GUESS, INPUTS)
    np.testing.assert_allclose(found.values, VALUES)
    np.testing.assert_allclose(found.guess, EXACT)
    np.testing.assert_allclose(found.gap, [7, 1, 1])
    assert float(found.found.gap) == pytest.approx(7) and int(found.found.accepted) == 1
    np.testing.assert_allclose(found.memory.value, VALUES)
    # The argument of the first step is the anchor, which does not move.
    np.testing.assert_allclose(found.memory.step, [[0], [-7], [-2.5]])
    assert found.finite.all() and found.memory.known.all()
    # The values are judged by what the last move showed of the slope.
    again = iteration(method, found.guess, INPUTS, memory=found.memory, scale=2.0)
    np.testing.assert_allclose(again.gap, 0, atol=1e-12)
    moved = found.guess + jnp.array([[1.0], [2.0], [4.0]])
    memory = found.memory._replace(step=found.memory.step + moved - found.guess)
    later = iteration(method, moved, INPUTS, memory=memory, scale=2.0)
    np.testing.assert_allclose(later.gap, [0.5, 0.75, 1.5])


@pytest.mark.parametrize("damping", [1.0, 0.5])
def test_a_cap_and_damping_scale_the_model(x64, damping):
    method = pmc.Newton(pmc.Dense(), max_norm=0.25, radius=None, damping=damping)
    a, y, x = 0.25 * damping, VALUES[:, 0], np.asarray(GUESS)[:, 0]
    first = y[0]
    second = y[1] + a * (first - x[0])
    third = y[2] + a * (second - x[1])
    found = iteration(method, GUESS, INPUTS)
    np.testing.assert_allclose(found.guess[:, 0], [first, second, third])
    # What is reported is the model before it is capped.
    np.testing.assert_allclose(found.model.norm(), SLOPE)


def test_a_radius_shortens_the_corrections(x64):
    method = pmc.Newton(pmc.Dense(), max_norm=None, radius=0.75)
    # The corrections -7 and -2.5 are cut to 0.75 of the spread, or of the scale where that is more.
    spread = float(newton._spread(jnp.asarray(VALUES))[0])
    for scale in (0.1, 4.0):
        reach = 0.75 * max(spread, scale)
        expected = VALUES[:, 0] + SLOPE * np.maximum([0, -7, -2.5], -reach)
        found = iteration(method, GUESS, INPUTS, scale=scale)
        np.testing.assert_allclose(found.guess[:, 0], expected)


def test_a_cap_learns_only_from_known_steps_that_change_their_argument(x64):
    def step(x, u):
        """Halves its argument, or returns it, as a rejected proposal does."""
        return jnp.where(u > 0, 0.5 * x, x)

    method = pmc.Newton(pmc.Dense(), max_norm=pmc.LearnedCap(), radius=None)
    guess = jnp.array([[4.0], [4.0], [4.0], [4.0]])
    memory = method.initial_memory(4, 1, guess.dtype)._replace(
        step=jnp.full((4, 1), 1.0),
        value=jnp.array([[1.5], [1.5], [3.0], [1.5]]),
        known=jnp.array([True, True, True, False]),
    )
    inputs = jnp.array([[1.0], [1.0], [0.0], [1.0]])
    found = iteration(method, guess, inputs, step=step, memory=memory, anchor=jnp.array([4.0]))
    np.testing.assert_allclose(found.memory.cap, [2, 2, 1, 1])


@pytest.mark.parametrize("jacobian", [pmc.Dense(), pmc.Diagonal(None)], ids=["dense", "sweep"])
def test_a_value_that_is_not_finite_begins_anew_and_stops_the_correction(x64, jacobian):
    def step(x, u):
        return 0.5 * jnp.log(x) + u

    method = pmc.Newton(jacobian, max_norm=None, radius=None)
    guess = jnp.array([[-1.0], [3.0], [2.0]])
    found = iteration(method, guess, INPUTS, step=step, anchor=jnp.array([1.0]))
    after = 0.5 * np.log(3) + 1
    np.testing.assert_array_equal(found.finite, [True, False, True])
    np.testing.assert_array_equal(np.isinf(found.gap), [False, True, False])
    np.testing.assert_array_equal(found.memory.known, found.finite)
    # Row 2 begins anew from row 1; its successor sees no correction.
    np.testing.assert_allclose(found.guess, [[1], [1], [after]])
    np.testing.assert_allclose(found.memory.value, [[1], [0], [after]])
    np.testing.assert_allclose(found.memory.step, [[0], [2], [-2]])


def test_a_window_that_begins_with_no_finite_value_begins_anew_from_its_anchor():
    guess = jnp.array([[3.0], [3.0]])
    found = iteration(
        pmc.Newton(), guess, INPUTS[:2], step=lambda x, u: jnp.log(x - 4), anchor=jnp.array([2.0])
    )
    np.testing.assert_array_equal(found.guess, [[2], [2]])


@pytest.mark.parametrize("window", [32, 64])
def test_states_that_cannot_be_stepped_from_return(window):
    def step(x, u):
        # Not a number from 89 on.
        return 0.5 * x + u + 0 * jnp.exp(x)

    inputs = jnp.linspace(0, 1, 64)
    far = jnp.full(64, 1000.0)
    solution = pmc.solve(step, jnp.array(0.0), inputs, window=window, initial_guess=far)
    assert solution.iterations <= 12
    expected = jax.lax.scan(lambda x, u: (step(x, u),) * 2, jnp.array(0.0), inputs)[1]
    np.testing.assert_allclose(solution.states, expected, atol=1e-5)


def test_a_secant_mends_a_model_that_misses(x64):
    method = pmc.Newton(pmc.Identity(), max_norm=None, radius=None)
    # The last move, by 1, changed the values by 1/2: the identity missed by -1/2.
    memory = method.initial_memory(3, 1, GUESS.dtype)._replace(
        step=jnp.ones((3, 1)), value=VALUES - SLOPE, known=jnp.array([True, True, True])
    )
    found = iteration(method, GUESS, INPUTS, memory=memory)
    # Twice scanned with the identity, the second time with the miss of the first on the right.
    defect = VALUES - np.asarray(GUESS)
    first = np.concatenate([[[0.0]], np.cumsum(defect, axis=0)[:-1]])
    second = np.concatenate([[[0.0]], np.cumsum(defect - 0.5 * first, axis=0)[:-1]])
    np.testing.assert_allclose(found.guess, VALUES + 0.5 * second)
    unknown = iteration(method, GUESS, INPUTS)
    np.testing.assert_allclose(unknown.guess, VALUES + first)


def curved(x, u):
    return 0.9 * jnp.tanh(x[::-1] + 0.5 * x) + u


@pytest.mark.parametrize(
    "method",
    [
        pmc.Newton(pmc.Identity()),
        pmc.Newton(pmc.Dense(), radius=0.1),
        # Exact: the estimate by random signs does depend on the units.
        pmc.Newton(pmc.Diagonal(None)),
        pmc.elk(0.5),
    ],
    ids=["secant", "cap and radius", "sweep", "trust region"],
)
def test_units_do_not_matter(x64, method):
    inputs = jax.random.normal(jax.random.key(0), (6, 2))
    start = jax.random.normal(jax.random.key(1), (6, 2))

    def two_iterations(scale):
        def step(x, u):
            return scale * curved(x / scale, u)

        first = iteration(method, scale * start, inputs, step=step, scale=scale)
        second = iteration(method, first.guess, inputs, step=step, scale=scale, memory=first.memory)
        return second._replace(
            guess=second.guess / scale,
            values=second.values / scale,
            spread=second.spread / scale,
            memory=second.memory._replace(
                value=second.memory.value / scale, step=second.memory.step / scale
            ),
            model=second.model.rescaled(scale),
        )

    expected, actual = two_iterations(jnp.ones(2)), two_iterations(jnp.array([0.125, 16.0]))
    # The model as it is, capped, and what was learned of it.
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert np.abs(expected.memory.step).max() > 0.01


@pytest.mark.parametrize("method", [pmc.Newton(pmc.Identity()), pmc.elk(0.5)])
def test_without_a_scale_the_iterate_gives_it(x64, method):
    anchor = jnp.array([1.0])
    first = iteration(method, GUESS, INPUTS, anchor=anchor, scale=None)
    sizes = observed_scale(first.values, anchor, first.finite)
    np.testing.assert_allclose(first.gap, np.abs(first.values - GUESS)[:, 0] / sizes[:, 0])
    second = iteration(method, first.guess, INPUTS, anchor=anchor, scale=None, memory=first.memory)
    sizes = observed_scale(second.values, anchor, second.finite)
    known = iteration(
        method, first.guess, INPUTS, anchor=anchor, scale=sizes[-1], memory=first.memory
    )
    np.testing.assert_allclose(second.guess, known.guess)
    np.testing.assert_allclose(second.memory.cap, known.memory.cap)


@pytest.mark.parametrize(
    "method", [pytest.param(pmc.elk(0.1), marks=pytest.mark.slow), pmc.quasi_elk(0.1)]
)
def test_a_trust_region_leaves_what_is_exact(x64, method):
    """After k iterations the first k states are exact, whatever comes after them."""

    def step(x, u):
        return 3.9 * x * (1 - x) + 0 * u  # chaotic, and wild beyond [0, 1]

    inputs, start = jnp.zeros((12, 1)), jnp.array([0.2])
    exact = jax.lax.scan(lambda x, u: (step(x, u),) * 2, start, inputs)[1]
    guess = jnp.linspace(-5, 5, 12)[:, None]
    memory = None
    for done in range(1, 13):
        found = iteration(method, guess, inputs, step=step, anchor=start, memory=memory)
        guess, memory = found.guess, found.memory
        np.testing.assert_allclose(guess[:done], exact[:done], rtol=1e-9)
