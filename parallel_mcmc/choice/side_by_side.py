"""Chains side by side that have the same random numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, at, num_steps, repeated
from parallel_mcmc.kernels.base import BoundKernel, Kernel


@partial(jax.jit, static_argnames="count")
def starts_near(kernel: Kernel, state: PyTree, count: int, seed: int | None = None) -> PyTree:
    """Return ``state`` as the solver has it, so many times; with a seed, others around it.

    Those are a standard deviation away in each coordinate, or 1 where the kernel does not know its
    scale.
    """
    bound = kernel.bind(state.position)
    chart = bound.recurrence.chart
    first = bound.enter(state)
    if seed is None:
        return repeated(first, count)
    x = chart.coordinates(first)
    noise = jax.random.normal(jax.random.key(seed), (count, x.size), x.dtype)
    return jax.vmap(chart.lift)(repeated(first, count), x + _scale(bound, x.dtype) * noise)


@jax.jit
def side_by_side(
    kernel: Kernel, state: PyTree, starts: PyTree, keys: jax.Array, steps: int
) -> tuple[jax.Array, PyTree]:
    """Return the paths of chains that have the same random numbers.

    They begin at ``starts``, as :func:`starts_near` returns them for ``state``. How many of the
    draws are made is no part of the program.

    Returns
    -------
    jax.Array
        Coordinates in units of their scale, at first and after each of ``steps`` steps, shape
        ``(len(keys) + 1, count, D)``; what was not made is zero.
    PyTree
        What the steps recorded.
    """
    bound = kernel.bind(state.position)
    count = num_steps(starts)
    draws = jax.vmap(bound.draw)(keys)
    step = jax.vmap(bound.recurrence.step)
    shapes = jax.eval_shape(step, starts, repeated(at(draws, 0), count))
    record = jax.tree.map(lambda leaf: jnp.zeros((len(keys), *leaf.shape), leaf.dtype), shapes)

    def body(t: jax.Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        states, record = carry
        made = step(states, repeated(at(draws, t), count))
        # All of it is kept, as in a run: to write it is much of what a small step takes.
        return made[0], jax.tree.map(lambda rows, row: rows.at[t].set(row), record, made)

    _, record = jax.lax.fori_loop(0, steps, body, (starts, record))
    coordinates = jax.vmap(bound.recurrence.chart.coordinates)
    path = jnp.concatenate([coordinates(starts)[None], jax.vmap(coordinates)(record[0])])
    return path / _scale(bound, path.dtype), record[1]


@jax.jit
def guessed(kernel: Kernel, state: PyTree, starts: PyTree, keys: jax.Array) -> jax.Array:
    """Return the paths of :func:`side_by_side` as the kernel's own model of itself has them.

    Shape ``(len(keys), count, D)``; without what chains begin at.
    """
    bound = kernel.bind(state.position)
    draws = jax.vmap(bound.draw)(keys)
    paths = jax.vmap(bound.imitated.guess, in_axes=(0, None), out_axes=1)(starts, draws)
    coordinates = jax.vmap(jax.vmap(bound.recurrence.chart.coordinates))(paths)
    return coordinates / _scale(bound, coordinates.dtype)


def _scale(bound: BoundKernel, dtype: Any) -> jax.Array:
    return jnp.asarray(1 if bound.scale is None else bound.scale, dtype)
