import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.rows.batch import ALONE, FIRST, LAST, Batch, sum_of_rows
from parallel_mcmc.rows.steps import steps_of

SIZE, ROWS = 4, 5


@pytest.mark.parametrize("place", [FIRST, LAST])
@pytest.mark.parametrize("axis", [None, FIRST, LAST])
def test_the_axis_of_a_batch_is_put_elsewhere(axis, place):
    one = np.arange(6.0).reshape(2, 3)
    several = np.stack([one] * SIZE, 0 if axis is None else axis)
    found = Batch(SIZE, {}).placed(one if axis is None else several, axis, place)
    np.testing.assert_array_equal(found, np.stack([one] * SIZE, place))


def test_what_has_no_batch_is_left_as_it_is():
    np.testing.assert_array_equal(Batch(SIZE, {}).placed(np.ones(3), None, None), np.ones(3))


def made(function, arrays, axes, out):
    """Return what the one step of a function makes, with the batch at ``axes``."""
    shapes = [
        array[0] if axis == FIRST else array[..., 0] if axis == LAST else array
        for array, axis in zip(arrays, axes, strict=True)
    ]
    whole = steps_of(jax.make_jaxpr(function)(*shapes).jaxpr)
    (step,) = whole.steps
    owners = zip(whole.arguments, axes, strict=True)
    places = {value: axis for value, axis in owners if axis is not None}
    known = dict(zip(whole.arguments, arrays, strict=True))
    Batch(SIZE, places | {step.outputs[0]: out}).run(step, known)
    return known[step.outputs[0]]


@pytest.mark.parametrize("out", [FIRST, LAST])
def test_a_step_takes_the_batch_wherever_it_is(out, x64):
    rng = np.random.default_rng(0)
    rows, scale, data = rng.normal(size=(ROWS, SIZE)), rng.normal(size=SIZE), rng.normal(size=ROWS)
    for function, arrays, axes, expected in (
        (jax.lax.mul, [rows, data], [LAST, None], rows * data[:, None]),
        (jax.lax.mul, [rows.T, data], [FIRST, None], rows * data[:, None]),
        (lambda x, s: x * s, [rows, scale], [LAST, FIRST], rows * scale),
        (lambda x, s: x * s, [data, scale], [None, FIRST], data[:, None] * scale),
        (lambda x: 2.0 * x, [rows], [LAST], 2 * rows),
        (jax.lax.neg, [rows.T], [FIRST], -rows),
    ):
        found = made(function, list(map(jnp.asarray, arrays)), axes, out)
        np.testing.assert_allclose(found, expected.T if out == FIRST else expected, rtol=1e-15)


def test_what_no_position_changes_has_no_batch():
    whole = steps_of(jax.make_jaxpr(jax.lax.neg)(jnp.ones(ROWS)).jaxpr)
    known = {whole.arguments[0]: jnp.ones(ROWS)}
    for batch in (ALONE, Batch(SIZE, {})):
        batch.run(whole.steps[0], known)
        assert known[whole.results[0]].shape == (ROWS,)


def error_of(sums, numbers):
    exact = numbers.astype(float).sum(axis=0)
    return np.sqrt(np.mean((np.asarray(sums, float) - exact) ** 2))


@pytest.mark.parametrize("rows", [1, 11, 48, 16_656])
def test_numbers_of_rows_are_summed_more_exactly_than_one_after_the_other(rows):
    numbers = np.random.default_rng(0).normal(1.0, 3.0, (rows, 400)).astype(np.float32)
    found = jax.jit(sum_of_rows)(numbers)
    assert found.dtype == jnp.float32
    one_by_one = np.cumsum(numbers, axis=0)[-1]
    assert error_of(found, numbers) <= error_of(one_by_one, numbers)


def test_many_rows_are_summed_as_exactly_as_by_a_sum():
    numbers = np.random.default_rng(0).normal(1.0, 3.0, (16_656, 400)).astype(np.float32)
    expected = jax.jit(lambda x: x.sum(axis=0))(numbers)
    assert error_of(sum_of_rows(numbers), numbers) <= 1.1 * error_of(expected, numbers)


def test_infinities_are_summed_as_by_a_sum():
    numbers = np.ones((64, 4), np.float32)
    numbers[3, 1], numbers[50, 2], numbers[[3, 50], 3] = np.inf, np.nan, [np.inf, -np.inf]
    np.testing.assert_array_equal(sum_of_rows(jnp.asarray(numbers)), [64, np.inf, np.nan, np.nan])


def test_counts_are_summed_as_they_are():
    found = made(lambda x: jnp.sum(x), [jnp.ones((ROWS, SIZE), int)], [LAST], FIRST)
    assert found.dtype == jnp.ones((), int).dtype and found.tolist() == [ROWS] * SIZE
