"""Where the axis of a batch of positions is, while rows of data are gone through."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc.rows.rules import ELEMENTWISE
from parallel_mcmc.rows.steps import Step, Value

FIRST, LAST = 0, -1


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
        bind = partial(step.primitive.bind, **(step.params if params is None else params))
        made = jax.vmap(bind, axes, out)(*inputs)
        outputs = made if step.primitive.multiple_results else [made]
        known.update(zip(step.outputs, outputs, strict=True))

    def placed(self, array: Any, axis: int | None, place: int | None) -> jax.Array:
        """Return an array with the axis of the batch at another place; without it if None."""
        if place is None:
            return jnp.asarray(array)
        if axis is not None:
            return jnp.moveaxis(array, axis, place)
        shape = jnp.shape(array)
        whole = (self.size, *shape) if place == FIRST else (*shape, self.size)
        return jnp.broadcast_to(jnp.expand_dims(array, place), whole)


ALONE = Batch(1, {})
"""One position; or a batch that is left to JAX."""
