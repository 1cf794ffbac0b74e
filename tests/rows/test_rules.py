"""Every rule against the whole: rows of a primitive's result are those of fewer rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from parallel_mcmc.rows.rules import ByRow, Total, rule_of
from parallel_mcmc.rows.steps import steps_of

ROWS = 11
FEWER = 4
RNG = np.random.default_rng(0)


def array(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def whole_numbers(below, *shape):
    return jnp.asarray(RNG.integers(0, below, shape), jnp.int32)


R = ROWS
# A function of one primitive, its operands, and the axis of the rows in each of them.
BY_ROW = {
    "elementwise": (lax.mul, [array(R, 3), array(R, 3)], [0, 0]),
    "scalar": (lambda x, y: lax.select_n(y > 0, x, -x), [array(R), array()], [0, None]),
    "new axis": (lambda x: lax.broadcast_in_dim(x, (2, R), (1,)), [array(R)], [0]),
    "same in every row": (lambda x: lax.broadcast_in_dim(x, (R, 3), (1,)), [array(3)], [None]),
    "one row in every row": (
        lambda x: lax.broadcast_in_dim(x, (R, 3), (0, 1)),
        [array(1, 3)],
        [None],
    ),
    "reshape": (lambda x: lax.reshape(x, (R, 6)), [array(R, 2, 3)], [0]),
    "reshape before": (lambda x: lax.reshape(x, (6, R, 1)), [array(2, 3, R)], [2]),
    "squeeze": (lambda x: lax.squeeze(x, (0, 2)), [array(1, R, 1)], [1]),
    "transpose": (lambda x: lax.transpose(x, (2, 0, 1)), [array(R, 2, 3)], [0]),
    "sum of a row": (lambda x: lax.reduce_sum_p.bind(x, axes=(0,), **SUM), [array(3, R)], [1]),
    "largest of a row": (lambda x: lax.reduce_max(x, axes=(1,)), [array(R, 3)], [0]),
    "place of the largest": (lambda x: lax.argmax(x, 0, jnp.int32), [array(3, R)], [1]),
    "concatenate": (lambda x, y: lax.concatenate([x, y], 1), [array(R, 2), array(R, 1)], [0, 0]),
    "cumulative": (lambda x: lax.cumsum(x, axis=1), [array(R, 3)], [0]),
    "sort": (lambda x: lax.sort(x, dimension=1), [array(R, 3)], [0]),
    "slice": (lambda x: lax.slice(x, (0, 1), (R, 3)), [array(R, 4)], [0]),
    "slice somewhere": (
        lambda x, i: lax.dynamic_slice(x, (0, i), (R, 2)),
        [array(R, 4), whole_numbers(3)],
        [0, None],
    ),
    "pad": (lambda x: lax.pad(x, 0.0, ((0, 0, 0), (1, 2, 0))), [array(R, 3)], [0]),
    "first factor": (lax.dot, [array(R, 3), array(3, 2)], [0, None]),
    "second factor": (lambda a, b: lax.dot_general(a, b, (((0,), (1,)), ((), ()))),)
    + ([array(3, 2), array(R, 3)], [None, 0]),
    "batch": (lambda a, b: lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,)))),)
    + ([array(R, 2, 3), array(R, 3)], [0, 0]),
    "beside a batch": (lambda a, b: lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,)))),)
    + ([array(2, R, 3), array(2, 3)], [1, None]),
    "gather": (lambda x, i: x.at[i].get(mode="clip"), [array(5), whole_numbers(5, R)], [None, 0]),
    "gather rows of a table": (
        lambda x, i: x.at[i].get(mode="clip"),
        [array(5, 2), whole_numbers(5, R)],
        [None, 0],
    ),
    "gather in its own row": (
        lambda x, i: jnp.take_along_axis(x, i, axis=1, mode="clip"),
        [array(R, 4), whole_numbers(4, R, 2)],
        [0, 0],
    ),
}
SUM = {} if jax.__version_info__ < (0, 8) else {"out_sharding": None}
TOTALS = {
    "sum": (lambda x: jnp.sum(x), [array(R, 3)], [0]),
    "product": (lambda a, b: a @ b, [array(2, R), array(R, 3)], [1, 0]),
    "scatter": (
        lambda x, i, u: x.at[i].add(u, mode="drop"),
        [array(5), whole_numbers(5, R), array(R)],
        [None, 0, 0],
    ),
}
NEITHER = {
    "sum of squares by rows of other places": (lax.mul, [array(R, R), array(R, R)], [0, 1]),
    "what has rows that are not cut": (lax.mul, [array(R), array(R)], [0, None]),
    "reversed": (lambda x: lax.rev(x, (0,)), [array(R)], [0]),
    "cumulative over rows": (lambda x: lax.cumsum(x, axis=0), [array(R)], [0]),
    "sorted rows": (lambda x: lax.sort(x, dimension=0), [array(R)], [0]),
    "largest over rows": (lambda x: lax.reduce_max(x, axes=(0,)), [array(R)], [0]),
    "rows and more": (lambda x: lax.reshape(x, (3 * R,)), [array(R, 3)], [0]),
    "some rows": (lambda x: lax.slice(x, (1,), (R,)), [array(R)], [0]),
    "every other row": (lambda x: lax.slice(x, (0,), (R,), (2,)), [array(R)], [0]),
    "more rows": (lambda x: lax.pad(x, 0.0, ((1, 0, 0),)), [array(R)], [0]),
    "one after the other": (lambda x, y: lax.concatenate([x, y], 0), [array(R)] * 2, [0, 0]),
    "rows of one factor alone are added": (lax.dot, [array(R), array(R)], [0, None]),
    "rows as the table": (lambda x, i: x[i], [array(R), whole_numbers(R, 5)], [0, None]),
    "added to rows": (
        lambda x, i, u: x.at[i].add(u, mode="drop"),
        [array(R), whole_numbers(R, 5), array(5)],
        [0, None, None],
    ),
}


def steps_with_rows(function, operands, axes):
    """Yield every equation of a function with its inputs' axes and its outcome."""
    whole = steps_of(jax.make_jaxpr(function)(*operands).jaxpr)
    known = dict(zip(whole.arguments, operands, strict=True))
    places = dict(zip(whole.arguments, axes, strict=True))
    for step in whole.steps:
        own = [places.get(value) for value in step.inputs]
        outcome = rule_of(step, own, ROWS)
        step.run(known)
        yield step, own, outcome, known
        if isinstance(outcome, ByRow):
            places.update(zip(step.outputs, outcome.axes, strict=True))


def parts(step, own, known, start, rows):
    return {
        value: lax.slice_in_dim(value.read(known), start, start + rows, axis=axis)
        for value, axis in zip(step.inputs, own, strict=True)
        if axis is not None
    }


@pytest.mark.parametrize("name", BY_ROW)
def test_rows_are_made_from_rows(name):
    outcomes = []
    for step, own, outcome, known in steps_with_rows(*BY_ROW[name]):
        outcomes.append(outcome)
        if not isinstance(outcome, ByRow):
            continue
        few = known | parts(step, own, known, 3, FEWER)
        step.run(few, None if outcome.params is None else outcome.params(FEWER))
        for value, axis in zip(step.outputs, outcome.axes, strict=True):
            expected = lax.slice_in_dim(known[value], 3, 3 + FEWER, axis=axis)
            np.testing.assert_allclose(few[value], expected, rtol=1e-6)
    assert isinstance(outcomes[-1], ByRow)


@pytest.mark.parametrize("name", TOTALS)
def test_rows_are_added_up(name):
    *_, (step, own, outcome, known) = steps_with_rows(*TOTALS[name])
    assert isinstance(outcome, Total)
    total = 0.0 if outcome.base is None else step.inputs[outcome.base].read(known)
    for start, rows in ((0, FEWER), (FEWER, ROWS - FEWER)):
        few = known | parts(step, own, known, start, rows)
        if outcome.base is not None:
            few[step.inputs[outcome.base]] = total
        step.run(few)
        made = few[step.outputs[0]]
        total = made if outcome.base is not None else total + made
    np.testing.assert_allclose(total, known[step.outputs[0]], rtol=1e-5)


@pytest.mark.parametrize("name", NEITHER)
def test_rows_that_are_mixed_are_refused(name):
    outcomes = [outcome for *_, outcome, _ in steps_with_rows(*NEITHER[name])]
    assert outcomes[-1] is None
