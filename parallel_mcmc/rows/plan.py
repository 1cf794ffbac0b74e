"""How a function is cut: what is done before, for every block of rows, and after."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc.rows.batch import ALONE, FIRST, LAST, Batch
from parallel_mcmc.rows.caches import cache_bytes
from parallel_mcmc.rows.rules import ByRow, Total, rule_of
from parallel_mcmc.rows.steps import Step, Steps, Value, steps_of

ARRAYS_AT_A_TIME = 3
"""Numbers for each row and position, about, that a log density and its gradient have at a time."""

FILLED = 2 / 3
"""Share of the caches that data and what is made of them may fill: products of matrices have packed
copies there, and other virtual machines may have the same caches."""

BLOCK_SHARE = 1 / 3
"""Share of the caches that a block has, with what is made of its rows: smaller blocks have more
operations, each of which both cores have to begin together."""

FEWEST_ROWS = 1000
"""Rows of a block, at least."""

ALIGNED_ROWS = 16
"""Numbers of rows that products of matrices take well are multiples of this. With an odd number of
them a batch of 16 took 2.4 times as long."""


WIDE = 32
"""Positions of a batch from which on sums over rows have its axis last, too: by then products of a
matrix with many vectors are made faster in that order."""


class BlockStep(NamedTuple):
    """A step that is made for every block of rows."""

    step: Step
    params: Callable[[int], dict[str, Any]] | None
    """Its parameters for so many rows, where they depend on that."""


class SumStep(NamedTuple):
    """A step whose output is a sum over the rows."""

    step: Step
    base: Value | None
    """What the rows are added to by the step itself, where there is such a thing."""
    running: Value
    """The sum up to the present block, which the step is given for its base."""

    def begin(self, known: dict[Value, Any], batch: Batch) -> jax.Array:
        """Return the sum of no rows."""
        out = self.step.outputs[0]
        start, axis = jnp.zeros(out.aval.shape, out.aval.dtype), None
        if self.base is not None:
            start, axis = self.base.read(known), batch.axes.get(self.base)
        return batch.placed(start, axis, batch.axes.get(out))

    def add(self, known: dict[Value, Any], total: jax.Array, batch: Batch) -> jax.Array:
        """Return the sum with a block of rows."""
        known[self.running] = total
        batch.run(self.step, known)
        made = known[self.step.outputs[0]]
        return made if self.base is not None else total + made


class Plan(NamedTuple):
    """A function, cut into blocks of the rows of its data."""

    whole: Steps
    before: list[Step]
    blocks: list[BlockStep | SumStep]
    after: list[Step]
    axes: dict[Value, int]
    """The arrays that are cut, and the axis of their rows."""
    num_rows: int
    itemsize: int
    """Bytes of a number that is made for every row."""

    @property
    def data_bytes(self) -> int:
        """Bytes of the arrays that are cut."""
        return sum(map(_bytes_of, self.axes))

    @property
    def rows_are_products(self) -> bool:
        """Whether the numbers of a row come from products of matrices."""
        names = {item.step.primitive.name for item in self.blocks if isinstance(item, BlockStep)}
        return "dot_general" in names

    def block_rows(self, count: int = 1) -> int:
        """Return the rows of a block; what they leave over, if anything, is a smaller one.

        Parameters
        ----------
        count
            Positions of a batch.
        """
        row_bytes = self.data_bytes / self.num_rows + self._made_for_row(count)
        most = max(BLOCK_SHARE * cache_bytes() / row_bytes, FEWEST_ROWS)
        fewest = math.ceil(self.num_rows / most)
        # A rest has operations of its own: as many as a block.
        for blocks in range(fewest, int(self.num_rows / (0.5 * most)) + 1):
            if self.num_rows % (blocks * ALIGNED_ROWS) == 0:
                return self.num_rows // blocks
        rows = self.num_rows // fewest
        return rows if fewest == 1 else rows - rows % ALIGNED_ROWS or max(rows, 1)

    def pays(self, count: int) -> bool:
        """Whether the data, and what is made for each row and position, fill the caches.

        Parameters
        ----------
        count
            Positions of a batch.
        """
        needed = self.data_bytes + self._made_for_row(count) * self.num_rows
        return self.block_rows(count) < self.num_rows and needed > FILLED * cache_bytes()

    def _made_for_row(self, count: int) -> int:
        return ARRAYS_AT_A_TIME * count * self.itemsize

    def run(self, count: int, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Return the results of the function, for one of ``count`` positions of a batch."""
        return self._run(count, ALONE, constants, arguments)

    def run_together(
        self, count: int, constants: Sequence[Any], arguments: Sequence[Any]
    ) -> list[Any]:
        """Return the results for ``count`` positions: the first axis of arguments and results."""
        varying = set(self.whole.arguments)
        for step in self.whole.steps:
            if varying.intersection(step.inputs):
                varying.update(step.outputs)
        axes = dict.fromkeys(varying, FIRST)
        for item in self.blocks:
            is_sum = isinstance(item, SumStep)
            place = FIRST if is_sum and count < WIDE else LAST
            axes |= {value: place for value in item.step.outputs if value in varying}
            if is_sum and item.step.outputs[0] in varying:
                axes[item.running] = place
        batch = Batch(count, axes)
        results = self._run(count, batch, constants, arguments)
        return [
            batch.placed(result, axes.get(value), FIRST)
            for value, result in zip(self.whole.results, results, strict=True)
        ]

    @property
    def _sums(self) -> list[SumStep]:
        return [item for item in self.blocks if isinstance(item, SumStep)]

    def _run(
        self, count: int, batch: Batch, constants: Sequence[Any], arguments: Sequence[Any]
    ) -> list[Any]:
        known = dict(zip(self.whole.constants, constants, strict=True))
        known |= dict(zip(self.whole.arguments, arguments, strict=True))
        for step in self.before:
            batch.run(step, known)
        rows = self.block_rows(count)

        def body(totals: list[jax.Array], block: jax.Array) -> tuple[list[jax.Array], None]:
            return self._with_rows(known, totals, batch, block * rows, rows), None

        blocks, rest = divmod(self.num_rows, rows)
        begin = [item.begin(known, batch) for item in self._sums]
        totals, _ = jax.lax.scan(body, begin, jnp.arange(blocks))
        if rest:
            totals = self._with_rows(known, totals, batch, blocks * rows, rest)
        known.update(
            (item.step.outputs[0], total) for item, total in zip(self._sums, totals, strict=True)
        )
        for step in self.after:
            batch.run(step, known)
        return [value.read(known) for value in self.whole.results]

    def _with_rows(
        self,
        known: dict[Value, Any],
        totals: list[jax.Array],
        batch: Batch,
        start: jax.Array | int,
        rows: int,
    ) -> list[jax.Array]:
        """Return all sums with ``rows`` more rows, from ``start`` on."""
        known, remaining, added = dict(known), iter(totals), []
        for value, axis in self.axes.items():
            array = jnp.asarray(value.read(known))
            known[value] = jax.lax.dynamic_slice_in_dim(array, start, rows, axis)
        for item in self.blocks:
            if isinstance(item, SumStep):
                added.append(item.add(known, next(remaining), batch))
            else:
                params = None if item.params is None else item.params(rows)
                batch.run(item.step, known, params)
        return added


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
    return sum(map(_bytes_of, _data_of(steps_of(closed.jaxpr))))


def _data_of(whole: Steps) -> set[Value]:
    used = {value for step in whole.steps for value in step.inputs if value.aval.shape}
    return {value for value in used if value.constant is not None or value in whole.constants}


def _rows_of(whole: Steps) -> int:
    """Return the longest axis of most of the data; 0 if there are none."""
    sizes: Counter[int] = Counter()
    for value in _data_of(whole):
        sizes[max(value.aval.shape)] += _bytes_of(value)
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
    if any(value in in_blocks for value in whole.results):
        return None
    made = [step.step.outputs[0].aval.dtype for step in blocks]
    if not cut:
        return None
    itemsize = max(dtype.itemsize for dtype in made)
    return Plan(whole, before, blocks, after, cut, num_rows, itemsize)


def _sum_step(step: Step, outcome: Total) -> SumStep:
    running = Value(step.outputs[0].aval)
    if outcome.base is None:
        return SumStep(step, None, running)
    inputs = list(step.inputs)
    base, inputs[outcome.base] = inputs[outcome.base], running
    return SumStep(step._replace(inputs=inputs), base, running)


def _bytes_of(value: Value) -> int:
    # Keys of random numbers are no data.
    known = isinstance(value.aval.dtype, np.dtype)
    return value.aval.size * value.aval.dtype.itemsize if known else 0
