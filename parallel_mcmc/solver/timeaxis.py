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

from parallel_mcmc._tree import PyTree, at, preceding, select

if TYPE_CHECKING:
    from parallel_mcmc.solver.operators import Operator

TIME = "time"
"""The axis of a user's mesh that the steps are spread over."""

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

    def following(self, v: jax.Array, end: float) -> jax.Array:
        """Return what comes after each row of ``v``; after the last of the window, ``end``."""
        return jnp.concatenate([v[1:], jnp.full_like(v[:1], end)])

    def last(self, v: jax.Array) -> jax.Array:
        """Return the last row of the window."""
        return v[-1]

    def solve_before(self, operator: Operator, b: jax.Array) -> jax.Array:
        """Solve ``z_t = A_t z_{t-1} + b_t``; return ``z_{t-1}`` for every t, shape ``(T, D)``."""
        return delayed(operator.scan(b))

    def product(self, compose: Compose, elements: PyTree) -> PyTree:
        """Return the product of all elements of the window."""
        return at(jax.lax.associative_scan(compose, elements), -1)

    def cumsum(self, v: jax.Array) -> jax.Array:
        """Return the sums over the window up to each row."""
        return jnp.cumsum(v, axis=0)

    def mean(self, v: jax.Array) -> jax.Array:
        """Return the mean over the window."""
        return jnp.mean(v, axis=0)

    def max(self, values: jax.Array) -> jax.Array:
        """Return the largest over the blocks of each of ``values``."""
        return values

    def sample(self, v: jax.Array, count: int) -> jax.Array:
        """Return at most ``count`` rows of the window, at equal distances."""
        return v[:: -(-len(v) // count)]

    def leading(self, *masks: jax.Array) -> tuple[jax.Array, ...]:
        """Return of each mask how many entries come before the first that is False."""
        return tuple(jnp.where(mask.all(), len(mask), jnp.argmin(mask)) for mask in masks)

    def own(self, count: jax.Array) -> jax.Array:
        """Return a number that no other block and no other ``count`` has."""
        return count

    def in_turn(
        self,
        finish: Callable[..., tuple[PyTree, PyTree]],
        initial_state: PyTree,
        done: jax.Array,
        total: int,
        states: PyTree,
        aux: PyTree,
    ) -> tuple[PyTree, PyTree]:
        """Complete the steps from ``done`` to ``total``, block by block.

        ``finish(before, start, stop, states, aux)`` completes a block from position ``start`` to
        ``stop``; ``before`` is the state before the block.
        """
        return finish(initial_state, done, total, states, aux)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The window in blocks of one length over the devices of a mesh; for use in ``shard_map``.

    The methods are those of :class:`OneDevice`. Rows are those of the device's own block.
    """

    size: int

    @property
    def index(self) -> jax.Array:
        """Which block this device holds, scalar."""
        return jax.lax.axis_index(TIME)

    def positions(self, length: int) -> jax.Array:
        """Return the positions in the window of the block's ``length`` steps."""
        return self.index * length + jnp.arange(length)

    def before(self, first: PyTree, states: PyTree) -> PyTree:
        """Pass the last state of each block to the next device: a permute of one state."""
        forward = [(i, i + 1) for i in range(self.size - 1)]
        passed = jax.tree.map(lambda leaf: jax.lax.ppermute(leaf[-1], TIME, forward), states)
        return select(self.index > 0, passed, first)

    def following(self, v: jax.Array, end: float) -> jax.Array:
        """Pass the first row of each block to the device before: a permute of one row."""
        backward = [(i + 1, i) for i in range(self.size - 1)]
        passed = jax.lax.ppermute(v[:1], TIME, backward)
        tail = jnp.where(self.index < self.size - 1, passed, end)
        return jnp.concatenate([v[1:], tail])

    def last(self, v: jax.Array) -> jax.Array:
        """Return the last row of the window: a sum of one row over the devices."""
        return jax.lax.psum(jnp.where(self.index == self.size - 1, v[-1], 0), TIME)

    def solve_before(self, operator: Operator, b: jax.Array) -> jax.Array:
        """Solve the recurrence in every block, and correct it by what comes before."""
        return operator.scan(b, self._scan_before)

    def _scan_before(self, compose: Compose, elements: PyTree) -> PyTree:
        """Return the product of what comes before each element; at first, zeros.

        The devices exchange the products of their blocks by one gather, which also tells what
        comes before a block: nothing has to be passed on after the scan.
        """
        own = jax.lax.associative_scan(compose, elements)
        blocks = jax.lax.associative_scan(compose, self._gathered(at(own, -1)))
        earlier = at(blocks, jnp.maximum(self.index - 1, 0))
        whole = jax.tree.map(lambda e, leaf: jnp.broadcast_to(e, leaf.shape), earlier, own)
        first = self.index == 0
        scanned = select(first, own, compose(whole, own))
        return preceding(select(first, jax.tree.map(jnp.zeros_like, earlier), earlier), scanned)

    def product(self, compose: Compose, elements: PyTree) -> PyTree:
        """Return the product of all elements of the window: one gather."""
        own = at(jax.lax.associative_scan(compose, elements), -1)
        return at(jax.lax.associative_scan(compose, self._gathered(own)), -1)

    def cumsum(self, v: jax.Array) -> jax.Array:
        """Return the sums over the window up to each row: a gather of one row."""
        own = jnp.cumsum(v, axis=0)
        totals = jax.lax.all_gather(own[-1], TIME)
        earlier = jnp.arange(self.size) < self.index
        return own + jnp.sum(jnp.where(earlier[:, None], totals, 0), axis=0)

    def mean(self, v: jax.Array) -> jax.Array:
        """Return the mean over the window."""
        return jax.lax.pmean(jnp.mean(v, axis=0), TIME)

    def max(self, values: jax.Array) -> jax.Array:
        """Return the largest over the blocks of each of ``values``."""
        return jax.lax.pmax(values, TIME)

    def sample(self, v: jax.Array, count: int) -> jax.Array:
        """Return about ``count`` rows of the window: a gather of these."""
        share = -(-count // self.size)
        return jax.lax.all_gather(v[:: -(-len(v) // share)], TIME, tiled=True)

    def leading(self, *masks: jax.Array) -> tuple[jax.Array, ...]:
        """Return of each mask how many entries come before the first that is False."""
        length = len(masks[0])
        own = jnp.stack(
            [
                jnp.where(mask.all(), self.size * length, self.index * length + jnp.argmin(mask))
                for mask in masks
            ]
        )
        return tuple(jax.lax.pmin(own, TIME))

    def own(self, count: jax.Array) -> jax.Array:
        """Return a number that no other block and no other ``count`` has."""
        return count * self.size + self.index

    def in_turn(
        self,
        finish: Callable[..., tuple[PyTree, PyTree]],
        initial_state: PyTree,
        done: jax.Array,
        total: int,
        states: PyTree,
        aux: PyTree,
    ) -> tuple[PyTree, PyTree]:
        """Let one device after the other complete its block, from the last state of the one before.

        Takes no turn at all if everything is done.
        """
        length = len(jax.tree.leaves(states)[0])
        start = jnp.clip(done - self.index * length, 0, length)
        stop = jnp.clip(total - self.index * length, 0, length)

        def turn(block: jax.Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            before = self.before(initial_state, carry[0])
            return finish(before, start, jnp.where(block == self.index, stop, 0), *carry)

        turns = jnp.where(done < total, self.size, 0)
        return jax.lax.fori_loop(done // length, turns, turn, (states, aux))

    def _gathered(self, element: PyTree) -> PyTree:
        """Return the elements of all devices, leading axis ``size``, by one collective."""
        flat, unravel = ravel_pytree(element)
        return jax.vmap(unravel)(jax.lax.all_gather(flat, TIME))


TimeAxis = OneDevice | Blocks

ONE_DEVICE = OneDevice()


def delayed(v: jax.Array) -> jax.Array:
    """Shift along time by one: row t becomes row t-1, the first row zero."""
    return preceding(jnp.zeros_like(v[0]), v)
