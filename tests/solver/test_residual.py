import jax.numpy as jnp
import numpy as np

from parallel_mcmc.solver import residual
from parallel_mcmc.solver.recurrence import plain_recurrence

EPS = float(np.finfo(np.float32).eps)


def test_rounding_is_no_gap():
    ulps = residual.ROUNDING_ULPS
    a = jnp.array([1.0, 1.0, -1.0, 0.0])
    b = jnp.array([1 + ulps * EPS, 1 + (ulps + 4) * EPS, -1 - (ulps + 4) * EPS, 0.5])
    expected = [0, 4 * EPS, 4 * EPS, 0.5]
    np.testing.assert_array_equal(residual._beyond_rounding(a, b, ulps), np.float32(expected))


def test_gap_is_in_units_of_the_scale_and_infinite_where_the_rest_differs():
    recurrence = plain_recurrence(lambda state, value: state)
    values = {"x": jnp.full((5, 2), 3.0), "n": jnp.arange(10).reshape(5, 2)}
    guess = {"x": values["x"].at[0].set(jnp.array([2.0, 1.0])), "n": values["n"].at[1, 1].add(1)}
    y, x = values["x"], guess["x"]
    finite = jnp.array([True, True, False, True, True])
    sizes = jnp.array([2.0, 8.0])
    gap = residual.residual_of(recurrence, values, guess, y, x, sizes, finite, 1e-9)
    np.testing.assert_array_equal(gap > 0, [True, True, True, False, False])
    np.testing.assert_allclose(gap[0], 0.5, rtol=1e-4)
    np.testing.assert_array_equal(gap[1:], [np.inf, np.inf, 0, 0])


def test_a_tolerance_of_zero_sees_the_last_bit():
    recurrence = plain_recurrence(lambda state, value: state)
    tiny = float(np.finfo(np.float32).tiny)
    y = jnp.array([[1.0], [1.0], [1.5 * tiny], [3e38]])
    x = jnp.array([[1.0], [1 + EPS], [tiny], [-3e38]])
    finite = jnp.full(4, True)

    def gap(tolerance):
        return residual.residual_of(recurrence, y, x, y, x, jnp.full(1, 4.0), finite, tolerance)

    np.testing.assert_array_equal(gap(1e-30)[:2], [0, 0])
    np.testing.assert_array_equal(gap(0), np.float32([0, EPS / 4, tiny, np.inf]))


def test_observed_scale_is_that_of_the_steps_before():
    y = jnp.array([[3.0, 1.0], [jnp.nan, 1.0], [5.0, 1.0], [1e9, 1.0]])
    finite = jnp.array([True, False, True, True])
    scale = residual.observed_scale(y, jnp.array([1.0, 1.0]), finite)
    square = np.cumsum([4, 0, 16, 1e18])
    np.testing.assert_allclose(scale[:, 0], np.sqrt(square / [1, 2, 3, 4]), rtol=1e-5)
    np.testing.assert_array_equal(scale[:, 1], 1)
