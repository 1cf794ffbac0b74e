"""The time axis of a window: on one device, or in blocks over a mesh of devices.

The Newton loop is written once, for the block of steps that a device holds, and asks the time axis
for whatever looks across steps. On one device that is plain array code. Over a mesh it is one
collective of a few numbers or of one state, whatever the length of the chain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._tree import PyTree, at, preceding, repeated, select

if TYPE_CHECKING:
    from parallel_mcmc.solver.operators import Operator

TIME = "time"
"""The axis of a user's mesh that the steps are spread over."""

DATA = "data"
"""The axis that a user's data are spread over: the one that is left to the compiler."""

Compose = Callable[[Any, Any], Any]
"""An associative product ``compose(earlier, later)`` of elements with a leading time axis."""

Scan = Callable[[Compose, PyTree], PyTree]
"""What makes of elements their products up to each: ``jax.lax.associative_scan``, or its like."""


@dataclasses.dataclass(frozen=True)
class OneDevice:
    """The whole window in one block."""

    size: int = 1
    """Number of blocks, all of one length."""

    def positions(self, length: int) -> jax.Array:
        """Return the positions in the window of the block's ``length`` steps."""
        return jnp.arange(length)

    def before(self, first: PyTree, states: PyTree) -> PyTree:
        """Return the state before the block; ``first`` before the first one."""
        return first

    def solve_before(
        self, operator: Operator, b: jax.Array, message: PyTree
    ) -> tuple[jax.Array, PyTree]:
        """Solve ``z_t = A_t z_{t-1} + b_t``, and exchange the messages of the blocks.

        Returns
        -------
        jax.Array
            ``z_{t-1}`` for every t, shape ``(T, D)``.
        PyTree
            The messages of all blocks, one more leading axis.
        """
        return delayed(operator.scan(b)), repeated(message, 1)

    def solve_again(self, operator: Operator, b: jax.Array, before: jax.Array) -> jax.Array:
        """Solve it for another ``b`` where ``before`` still comes before the block."""
        return delayed(operator.scan(b))

    def product(self, compose: Compose, elements: PyTree) -> PyTree:
        """Return the product of all elements of the window."""
        return at(jax.lax.associative_scan(compose, elements), -1)

    def mean(self, v: jax.Array) -> jax.Array:
        """Return the mean over the window."""
        return jnp.mean(v, axis=0)

    def last(self, tree: PyTree) -> PyTree:
        """Return the last entry of the window."""
        return at(tree, -1)

    def own(self, count: jax.Array) -> jax.Array:
        """Return a number that no other block and no other ``count`` has."""
        return count

    def in_turn(
        self,
        finish: Callable[..., tuple[PyTree, PyTree]],
        initial_state: PyTree,
        done: jax.Array,
        total: int,
        length: int,
        states: PyTree,
        aux: PyTree,
    ) -> tuple[PyTree, PyTree]:
        """Complete the steps from ``done`` to ``total``, one block of ``length`` after the other.

        ``finish(before, row, start, stop, states, aux)`` completes the block that begins at
        ``row``, from its step ``start`` to ``stop``; ``before`` is the state before the block.
        """
        return finish(initial_state, 0, done, total, states, aux)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The window in blocks of one length over the devices of a mesh; for use in ``shard_map``.

    The methods are those of :class:`OneDevice`. Rows are those of the device's own block.
    """

    size: int
    alone: bool = True
    """Whether no other chains are solved along another axis of the mesh."""

    @property
    def index(self) -> jax.Array:
        """Which block this device holds, scalar."""
        return jax.lax.axis_index(TIME)

    def positions(self, length: int) -> jax.Array:
        """Return the positions in the window of the block's ``length`` steps."""
        return self.index * length + jnp.arange(length)

    def before(self, first: PyTree, states: PyTree) -> PyTree:
        """Pass the last state of each block to the next device."""
        return select(self.index > 0, self._from_previous(at(states, -1)), first)

    def solve_before(
        self, operator: Operator, b: jax.Array, message: PyTree
    ) -> tuple[jax.Array, PyTree]:
        """Solve the recurrence in every block, and correct it by what comes before.

        One gather tells every device the products of all blocks, hence also what comes before its
        own, and their messages.
        """
        received = None

        def scan_before(compose: Compose, elements: PyTree) -> PyTree:
            nonlocal received
            own = jax.lax.associative_scan(compose, elements)
            products, received = self._gathered((at(own, -1), message))
            earlier = at(
                jax.lax.associative_scan(compose, products), jnp.maximum(self.index - 1, 0)
            )
            whole = jax.tree.map(lambda e, leaf: jnp.broadcast_to(e, leaf.shape), earlier, own)
            first = self.index == 0
            scanned = select(first, own, compose(whole, own))
            zeros = jax.tree.map(jnp.zeros_like, earlier)
            return preceding(select(first, zeros, earlier), scanned)

        return operator.scan(b, scan_before), received

    def solve_again(self, operator: Operator, b: jax.Array, before: jax.Array) -> jax.Array:
        """Solve it in every block by itself: what came in before is near enough."""
        entering = operator.apply(jnp.zeros_like(b).at[0].set(before))
        return preceding(before, operator.scan(b + entering))

    def product(self, compose: Compose, elements: PyTree) -> PyTree:
        """Return the product of all elements of the window: one gather."""
        own = at(jax.lax.associative_scan(compose, elements), -1)
        return at(jax.lax.associative_scan(compose, self._gathered(own)), -1)

    def mean(self, v: jax.Array) -> jax.Array:
        """Return the mean over the window."""
        return jax.lax.pmean(jnp.mean(v, axis=0), TIME)

    def last(self, tree: PyTree) -> PyTree:
        """Return the last entry of the window: a gather of one state."""
        return jax.tree.map(lambda leaf: jax.lax.all_gather(leaf[-1], TIME)[-1], tree)

    def own(self, count: jax.Array) -> jax.Array:
        """Return a number that no other block and no other ``count`` has."""
        return count * self.size + self.index

    def in_turn(
        self,
        finish: Callable[..., tuple[PyTree, PyTree]],
        initial_state: PyTree,
        done: jax.Array,
        total: int,
        length: int,
        states: PyTree,
        aux: PyTree,
    ) -> tuple[PyTree, PyTree]:
        """Let one device after the other complete its block, from the last state of the one before.

        Takes no turn at all if everything is done. The rows of a device are its blocks of one
        window after the other.
        """
        first = done // length

        def turn(block: jax.Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            # Where the block before this one ends, on the device that has it.
            end = jnp.maximum(block - 1, 0) // self.size * length + length - 1
            passed = self._from_previous(at(carry[0], end))
            before = select(block > 0, passed, initial_state)
            start = jnp.clip(done - block * length, 0, length)
            stop = jnp.clip(total - block * length, 0, length)
            mine = block % self.size == self.index
            row = block // self.size * length
            return finish(before, row, start, jnp.where(mine, stop, 0), *carry)

        turns = jnp.where(done < total, -(-total // length), 0)
        return jax.lax.fori_loop(first, turns, turn, (states, aux))

    def _from_previous(self, state: PyTree) -> PyTree:
        """Return the state of the device before; the first one has it from the last."""
        if self.alone:
            ring = [(i, (i + 1) % self.size) for i in range(self.size)]
            return jax.tree.map(lambda leaf: jax.lax.ppermute(leaf, TIME, ring), state)
        # A permute waits for every device of the mesh, and other chains may need fewer of them.
        states = jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, TIME), state)
        return at(states, self.index - 1)

    def _gathered(self, element: PyTree) -> PyTree:
        """Return the elements of all devices, leading axis ``size``, by one collective."""
        flat, unravel = ravel_pytree(element)
        return jax.vmap(unravel)(jax.lax.all_gather(flat, TIME))


TimeAxis = OneDevice | Blocks

ONE_DEVICE = OneDevice()


def delayed(v: jax.Array) -> jax.Array:
    """Shift along time by one: row t becomes row t-1, the first row zero."""
    return preceding(jnp.zeros_like(v[0]), v)
