"""Which steps of a function are made for every block of rows, and which before and after."""

from __future__ import annotations

from collections import Counter
from typing import Any

from parallel_mcmc.rows.plan import ALIGNED_ROWS, BlockStep, Plan, SumStep
from parallel_mcmc.rows.rules import ByRow, Total, rule_of
from parallel_mcmc.rows.steps import Step, Steps, Value, steps_of


def plan_of(closed: Any) -> Plan | None:
    """Return how a function is evaluated in blocks of rows; None where that is not to be done.

    Parameters
    ----------
    closed
        Its jaxpr; the arrays that it closes over are its data. It is not cut where they have few
        rows, where a result is no sum over these, or where an equation mixes rows.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> rows = jnp.ones((100_000, 20))
    >>> plan = plan_of(jax.make_jaxpr(lambda q: jnp.sum((rows @ q) ** 2))(jnp.ones(20)))
    >>> plan.num_rows, list(plan.axes.values())
    (100000, [0])
    """
    if closed.effects:
        return None
    whole = steps_of(closed.jaxpr)
    num_rows = _rows_of(whole)
    return _cut(whole, num_rows) if num_rows > ALIGNED_ROWS else None


def data_bytes(closed: Any) -> int:
    """Return the bytes of the arrays that a function closes over and uses.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> rows = jnp.ones((1000, 20), jnp.float32)
    >>> data_bytes(jax.make_jaxpr(lambda q: jnp.sum((rows @ q) ** 2))(jnp.ones(20, jnp.float32)))
    80000
    """
    return sum(value.nbytes for value in _data_of(steps_of(closed.jaxpr)))


def _data_of(whole: Steps) -> set[Value]:
    used = {value for step in whole.steps for value in step.inputs if value.aval.shape}
    return {value for value in used if value.constant is not None or value in whole.constants}


def _rows_of(whole: Steps) -> int:
    """Return the longest axis of most of the data; 0 if there are none."""
    sizes: Counter[int] = Counter()
    for value in _data_of(whole):
        sizes[max(value.aval.shape)] += value.nbytes
    return max(sizes, key=lambda size: sizes[size], default=0)


def _cut(whole: Steps, num_rows: int) -> Plan | None:
    """Put every step before the blocks, into them, or after."""
    before: list[Step] = []
    blocks: list[BlockStep | SumStep] = []
    after: list[Step] = []
    fixed = set(whole.constants)
    in_blocks: dict[Value, int] = {}
    later: set[Value] = set()
    cut: dict[Value, int] = {}

    def is_fixed(value: Value) -> bool:
        return value in fixed or value.constant is not None

    def row_axis(value: Value) -> int | None:
        if value in in_blocks:
            return in_blocks[value]
        shape = value.aval.shape
        return shape.index(num_rows) if is_fixed(value) and shape.count(num_rows) == 1 else None

    for step in whole.steps:
        of_rows = any(value in in_blocks for value in step.inputs)
        if any(value in later for value in step.inputs):
            if of_rows:
                return None
            after.append(step)
            later.update(step.outputs)
            continue
        of_data = all(is_fixed(value) for value in step.inputs)
        if of_data:
            fixed.update(step.outputs)
        axes = [row_axis(value) for value in step.inputs]
        # What comes from the data alone is found once, and not for every position.
        once = of_data and not of_rows and step.primitive.name != "broadcast_in_dim"
        outcome = None if once else rule_of(step, axes, num_rows)
        if outcome is None:
            if of_rows:
                return None
            before.append(step)
            continue
        for value, axis in zip(step.inputs, axes, strict=True):
            if axis is not None and value not in in_blocks:
                cut[value] = axis
        if isinstance(outcome, ByRow):
            blocks.append(BlockStep(step, outcome.params))
            in_blocks.update(zip(step.outputs, outcome.axes, strict=True))
        else:
            blocks.append(_sum_step(step, outcome))
            later.update(step.outputs)
    if not cut or any(value in in_blocks for value in whole.results):
        return None
    itemsize = max(item.step.outputs[0].aval.dtype.itemsize for item in blocks)
    return Plan(whole, before, blocks, after, cut, num_rows, itemsize)


def _sum_step(step: Step, outcome: Total) -> SumStep:
    running = Value(step.outputs[0].aval)
    if outcome.base is None:
        return SumStep(step, None, running)
    inputs = list(step.inputs)
    base, inputs[outcome.base] = inputs[outcome.base], running
    return SumStep(step._replace(inputs=inputs), base, running)
