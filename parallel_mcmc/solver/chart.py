"""Charts: how the solver moves a state that may be more than a vector.

The Newton correction is a vector of ``D`` coordinates. A chart reads those coordinates from a
state and displaces a state by a correction; everything else of the state (a cached gradient, a
counter) is the chart's business. The solver itself never looks inside a state.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, pytree


class Chart(Protocol):
    """Coordinates of a single state (no time axis)."""

    def coordinates(self, state: PyTree) -> jax.Array:
        """Return the vector that the Jacobian acts on, shape ``(D,)``."""
        ...

    def place(self, state: PyTree, coordinates: jax.Array) -> PyTree:
        """Return ``state`` with its coordinates replaced and all else as it was."""
        ...

    def lift(self, state: PyTree, coordinates: jax.Array) -> PyTree:
        """Return the whole state that belongs to ``coordinates``.

        What the coordinates do not determine is taken from ``state``.
        """
        ...

    def rest(self, state: PyTree) -> PyTree:
        """Return what the coordinates do not determine: it must agree at convergence."""
        ...


def is_real(leaf: Any) -> bool:
    """Whether ``leaf`` holds floating-point numbers."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


@pytree
@dataclasses.dataclass(frozen=True)
class Euclidean:
    """All floating-point leaves of the state, raveled into one vector.

    Leaves of another type (counters, keys) are carried by the recurrence itself: they become
    exact one step an iteration, and convergence asks that they agree.
    """

    def coordinates(self, state: PyTree) -> jax.Array:
        """Return the floating-point leaves as one vector of shape ``(D,)``."""
        leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(state) if is_real(leaf)]
        return jnp.concatenate(leaves)

    def place(self, state: PyTree, coordinates: jax.Array) -> PyTree:
        """Return ``state`` with its floating-point leaves replaced."""
        leaves, treedef = jax.tree.flatten(state)
        placed, start = [], 0
        for leaf in leaves:
            if is_real(leaf):
                size = jnp.size(leaf)
                part = coordinates[start : start + size]
                leaf = part.reshape(jnp.shape(leaf)).astype(leaf.dtype)
                start += size
            placed.append(leaf)
        return jax.tree.unflatten(treedef, placed)

    def lift(self, state: PyTree, coordinates: jax.Array) -> PyTree:
        """Return the same: the coordinates are all there is of floating point."""
        return self.place(state, coordinates)

    def rest(self, state: PyTree) -> PyTree:
        """Return the leaves that are not floating point."""
        return [leaf for leaf in jax.tree.leaves(state) if not is_real(leaf)]
