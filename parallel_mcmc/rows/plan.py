"""A function in blocks of rows: what is done before, for every block, and after."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc.rows.batch import ALONE, FIRST, LAST, Batch
from parallel_mcmc.rows.caches import cache_bytes
from parallel_mcmc.rows.steps import Step, Steps, Value

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
        return sum(value.nbytes for value in self.axes)

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
