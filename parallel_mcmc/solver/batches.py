"""Batches of steps, and of products with one Jacobian, computed as the device does best."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax

from parallel_mcmc._tree import PyTree, num_steps

BLOCK = 256
"""Steps that a CPU evaluates at once, about: what they compute stays in its caches, and the memory
of a long window does not grow by what a step needs in between."""


def in_blocks(function: Callable[..., PyTree], *batch: PyTree) -> PyTree:
    """Evaluate ``function`` for every leading index, as :func:`jax.vmap` does.

    A CPU does so in blocks, one after the other.
    """
    steps = num_steps(batch)
    length = block_length(steps)
    if length == steps or jax.default_backend() != "cpu":
        return jax.vmap(function)(*batch)
    return jax.lax.map(lambda one: function(*one), batch, batch_size=length)


def block_length(steps: int) -> int:
    """Return how many steps a CPU evaluates at once: all of them, or the divisor nearest to 256.

    A remainder would be compiled apart, so that there is one only where nothing near divides.

    Examples
    --------
    >>> [block_length(steps) for steps in (300, 1000, 4096, 1009)]
    [300, 250, 256, 256]
    """
    if steps < 2 * BLOCK:
        return steps
    near = (length for length in range(BLOCK // 2, 2 * BLOCK) if steps % length == 0)
    return min(near, key=lambda length: abs(length - BLOCK), default=BLOCK)


def for_each(product: Callable[[jax.Array], jax.Array], vectors: jax.Array) -> jax.Array:
    """Return ``product`` of each of ``vectors``: products with one Jacobian, a new leading axis.

    An accelerator makes them in one batch. A CPU makes them one after the other, from values that
    are laid out as the steps left them: many times faster, and in less memory.
    """
    if len(vectors) == 1:
        return product(vectors[0])[None]
    in_turn = partial(jax.lax.map, product)
    return jax.lax.platform_dependent(vectors, cpu=in_turn, default=jax.vmap(product))
