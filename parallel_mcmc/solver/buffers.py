"""Parts of trees of arrays along their leading axis, which is time."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, num_steps


def section(tree: PyTree, start: jax.Array | int, length: int) -> PyTree:
    """Return ``length`` entries of the leading axis, from ``start`` on."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, length), tree)


def written(tree: PyTree, part: PyTree, start: jax.Array | int) -> PyTree:
    """Write ``part`` over entries of the leading axis, from ``start`` on."""
    return jax.tree.map(
        lambda leaf, p: jax.lax.dynamic_update_slice_in_dim(leaf, p, start, axis=0), tree, part
    )


def shifted(tree: PyTree, tail: PyTree, shift: jax.Array | int) -> PyTree:
    """Drop ``shift`` leading entries and move as many of ``tail`` in."""
    return jax.tree.map(
        lambda a, b: jax.lax.dynamic_slice_in_dim(jnp.concatenate([a, b]), shift, len(a)),
        tree,
        tail,
    )


def cut(leaf: jax.Array, parts: int, length: int) -> jax.Array:
    """Return ``(C, T, ...)`` as ``(C, parts, length, ...)``; the last entry of T fills up."""
    missing = parts * length - leaf.shape[1]
    filled = jnp.concatenate([leaf, jnp.repeat(leaf[:, -1:], missing, axis=1)], axis=1)
    return filled.reshape(-1, parts, length, *leaf.shape[2:])


def uncut(leaf: jax.Array, total: int) -> jax.Array:
    """Return ``(C, parts, length, ...)`` as ``(C, T, ...)``: undo :func:`cut`."""
    return leaf.reshape(len(leaf), -1, *leaf.shape[3:])[:, :total]


def in_parts(tree: PyTree, length: int) -> PyTree:
    """Cut the leading axis T into ``(ceil(T / length), length, ...)``; its last entry fills up."""
    filled = padded_by(tree, -num_steps(tree) % length)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, length, *leaf.shape[1:]), filled)


def joined(tree: PyTree, total: int | None = None) -> PyTree:
    """Undo :func:`in_parts`: return the first ``total`` entries, by default all."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:total], tree)


def padded_by(tree: PyTree, count: int) -> PyTree:
    """Repeat the last entry ``count`` times, so that a window may run past the end."""
    if not count:
        return tree
    return jax.tree.map(
        lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[-1:], count, axis=0)]), tree
    )
