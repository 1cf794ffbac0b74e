"""What an iteration has found: which leading states of a window are exact.

Each block of a window says what it has found in a few numbers, :class:`Block`; from those of all
blocks, every device draws the same conclusion. On one device there is one block.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

# An accept decision is taken for settled where its margin exceeds this many times the error of
# the argument, in units of the scale: a bound on the slope of the log acceptance ratio.
MARGIN_SLOPE = 30

LONGEST_BLOCK = 2**24
"""Rows that a block's counts, sent as numbers of single precision, can tell apart."""


class Block(NamedTuple):
    """What a block of L steps has found; scalars."""

    edges: jax.Array
    """Leading edges that agree, of all but the last, which depends on the next block."""
    sound: jax.Array
    """Leading values that are finite."""
    worst: jax.Array
    """Largest residual of these edges."""
    widest: jax.Array
    """Largest gap, of all edges."""
    contraction: jax.Array
    """How much the first step shrinks an error of its argument."""
    margin: jax.Array
    """How far the first step is from deciding otherwise."""
    last_gap: jax.Array
    """Gap of the last edge."""


class Verdict(NamedTuple):
    """What an iteration has found of a window."""

    edges: jax.Array
    """Number of leading edges that agree to the tolerance."""
    accepted: jax.Array
    """Number of leading values that are exact and finite."""
    blocked: jax.Array
    """Whether a value that is exact is not finite: no iteration will mend it."""
    residual: jax.Array
    """Largest residual of the edges that agree."""
    gap: jax.Array
    """Largest gap of all edges inside the chain."""


def next_residual(gap: jax.Array, contraction: jax.Array, margin: jax.Array) -> jax.Array:
    """Return the residual that a value would have among the values.

    ``f(x_t)`` was evaluated at an argument that misses the value ``f(x_{t-1})`` by ``gap_t``; so
    far as the step contracts, ``f(f(x_{t-1}))`` is nearer to it. Where the step may fall on the
    other side of a decision, nothing is known of the residual.

    Parameters
    ----------
    gap
        ``|f(x_{t-1}) - x_t|``.
    contraction, margin
        Of the step after t.
    """
    gap = jnp.where(gap * MARGIN_SLOPE > margin, jnp.inf, gap)
    return jnp.where(gap == 0, 0, jnp.maximum(gap * contraction, jnp.finfo(gap.dtype).tiny))


def look_at(
    gap: jax.Array,
    contraction: jax.Array,
    margin: jax.Array | None,
    finite: jax.Array,
    positions: jax.Array,
    left: jax.Array | int,
    tolerance: jax.Array | float,
) -> Block:
    """Return what a block has found.

    Parameters
    ----------
    gap, contraction, finite
        Of every step, shape ``(L,)``.
    margin
        Likewise, or None where no step decides anything.
    positions
        Of the steps in the window, of which ``left`` are inside the chain.
    """
    if margin is None:
        margin = jnp.full_like(gap, jnp.inf)
    residual = next_residual(gap[:-1], contraction[1:], margin[1:])
    inside = positions < left
    met = (residual <= tolerance) | ~inside[:-1]
    edges = leading(met)
    agree = (jnp.arange(len(met)) < edges) & inside[:-1]
    return Block(
        edges.astype(jnp.float32),
        leading(finite).astype(jnp.float32),
        jnp.max(jnp.where(agree, residual, 0), initial=0),
        jnp.max(jnp.where(inside, gap, 0)),
        contraction[0],
        margin[0],
        gap[-1],
    )


def conclude(
    blocks: Block, length: int, left: jax.Array | int, tolerance: jax.Array | float
) -> Verdict:
    """Return what ``blocks`` of ``length`` steps, leading axis P, have found together."""
    count = len(blocks.edges)

    def following(v: jax.Array, end: float) -> jax.Array:
        return jnp.concatenate([v[1:], jnp.full_like(v[:1], end)])

    residual = next_residual(
        blocks.last_gap, following(blocks.contraction, 1), following(blocks.margin, jnp.inf)
    )
    last = (jnp.arange(count) + 1) * length - 1
    met = (residual <= tolerance) | (last >= left)
    own = blocks.edges.astype(int)
    edges = _joined(jnp.where((own == length - 1) & met, length, own), length)
    sound = _joined(blocks.sound.astype(int), length)
    # A value whose argument is exact is exact itself: one more than the edges that agree.
    exact = jnp.minimum(jnp.minimum(edges + 1, length * count), left)
    accepted = jnp.minimum(exact, sound)
    reached = jnp.arange(count) * length <= edges
    worst = jnp.maximum(
        jnp.max(jnp.where(reached, blocks.worst, 0)),
        jnp.max(jnp.where((last < edges) & (last < left), residual, 0)),
    )
    return Verdict(edges, accepted, accepted < exact, worst, jnp.max(blocks.widest))


def leading(mask: jax.Array) -> jax.Array:
    """Return how many entries come before the first that is False."""
    if not len(mask):
        return jnp.array(0)
    # argmin would carry positions and values through its reduction.
    return jnp.min(jnp.where(mask, len(mask), jnp.arange(len(mask))))


def _joined(counts: jax.Array, length: int) -> jax.Array:
    """Return how many leading rows the blocks have together, by what each of them has."""
    earlier = leading(counts == length)
    rest = counts[jnp.minimum(earlier, len(counts) - 1)]
    return earlier * length + jnp.where(earlier < len(counts), rest, 0)
