"""Where the axis of a batch of positions is, while rows of data are gone through."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import gcd
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc.rows.rules import ELEMENTWISE
from parallel_mcmc.rows.steps import Step, Value

FIRST, LAST = 0, -1

SUMMED_ROWS = 32
"""Rows, at most, whose numbers a product adds up: it adds one after the other, so that many would
be less exact than a sum."""


class Batch(NamedTuple):
    """How steps are made for a batch of positions.

    JAX puts the axis of a batch first. What a product of data with a batch of vectors makes has the
    rows first and the batch last. To go on with it like that, until rows are added up, spares
    arrays of all rows and positions from being put into another order.
    """

    size: int
    axes: Mapping[Value, int]
    """The axis of the batch in what differs between positions."""

    def run(
        self, step: Step, known: dict[Value, Any], params: dict[str, Any] | None = None
    ) -> None:
        """Add the outputs of a step to what is known, as :meth:`Step.run` does."""
        axes = [self.axes.get(value) for value in step.inputs]
        if all(axis is None for axis in axes):
            return step.run(known, params)
        inputs = [value.read(known) for value in step.inputs]
        out = self.axes[step.outputs[0]]
        if out == LAST and step.primitive.name in ELEMENTWISE:
            # With axes in different places, or numbers among arrays, JAX would have it first.
            places = [
                None if axis is None and not value.aval.shape else LAST
                for value, axis in zip(step.inputs, axes, strict=True)
            ]
            inputs = [self.placed(*moved) for moved in zip(inputs, axes, places, strict=True)]
            full = jnp.broadcast_shapes(*map(jnp.shape, inputs))
            inputs = [
                array if place is None else jnp.broadcast_to(array, full)
                for array, place in zip(inputs, places, strict=True)
            ]
            axes = places
        if self._adds_numbers(step):
            known[step.outputs[0]] = sum_of_rows(inputs[0])
            return
        bind = partial(step.primitive.bind, **(step.params if params is None else params))
        made = jax.vmap(bind, axes, out)(*inputs)
        outputs = made if step.primitive.multiple_results else [made]
        known.update(zip(step.outputs, outputs, strict=True))

    def _adds_numbers(self, step: Step) -> bool:
        """Whether a step adds up one number of each row."""
        value = step.inputs[0]
        is_sum = step.primitive.name == "reduce_sum" and value.aval.ndim == 1
        return (
            is_sum and self.axes[value] == LAST and value.aval.dtype in (jnp.float32, jnp.float64)
        )

    def placed(self, array: Any, axis: int | None, place: int | None) -> jax.Array:
        """Return an array with the axis of the batch at another place; without it if None."""
        if place is None:
            return jnp.asarray(array)
        if axis is not None:
            return jnp.moveaxis(array, axis, place)
        shape = jnp.shape(array)
        whole = (self.size, *shape) if place == FIRST else (*shape, self.size)
        return jnp.broadcast_to(jnp.expand_dims(array, place), whole)


def sum_of_rows(numbers: jax.Array) -> jax.Array:
    """Return the sum of numbers over rows, ``(rows, size)``, for every position of a batch.

    XLA has a CPU make the terms of a sum step by step, each step for all rows. For a product of
    matrices it makes them at once; that, of few rows at a time, leaves little to be summed.
    """
    rows, size = numbers.shape
    ones = jnp.ones(gcd(rows, SUMMED_ROWS), numbers.dtype)
    sums = jnp.matmul(ones, numbers.reshape(len(ones), -1), precision="highest")
    return sums.reshape(-1, size).sum(axis=0)


ALONE = Batch(1, {})
"""One position; or a batch that is left to JAX."""
