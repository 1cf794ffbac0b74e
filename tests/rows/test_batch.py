import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.rows.batch import ALONE, FIRST, LAST, Batch
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
