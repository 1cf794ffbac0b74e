"""Lanes that go on until each meets its old path."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, at, select
from parallel_mcmc.solver.recurrence import Recurrence


class Paths(NamedTuple):
    """What lanes have left behind them."""

    states: PyTree
    """Of every step of every lane, leading axes ``(length, lanes)``."""
    aux: PyTree
    """What the steps recorded."""
    spliced: jax.Array
    """Largest residual where a lane has met its old path, ``(lanes,)``."""


class _Now(NamedTuple):
    t: jax.Array
    state: PyTree
    active: jax.Array
    """Which lanes have not met their old paths."""
    paths: Paths
    evaluations: jax.Array


class Meeting(NamedTuple):
    """What it is for lanes to meet their old paths."""

    recurrence: Recurrence
    distance: Callable[[PyTree, PyTree, jax.Array], jax.Array]
    """Between new and old states of lanes, by the sizes of their coordinates."""
    tolerance: jax.Array | float
    """How near is taken for the same."""
    again: jax.Array
    """Whether there are old paths; if not, lanes go on to their ends."""


def go_on(
    meeting: Meeting,
    paths: Paths,
    values: PyTree,
    starts: PyTree,
    moved: jax.Array,
    sizes: jax.Array,
    few: int = 0,
) -> tuple[Paths, jax.Array]:
    """Make the steps of lanes that begin elsewhere than before, until each meets its old path.

    Parameters
    ----------
    meeting
        What that is.
    paths
        Those of the lanes so far.
    values
        Inputs of the steps, leading axes ``(length, lanes)``.
    starts
        Where the lanes begin, leading axis ``lanes``.
    moved
        Which of them are to go on, ``(lanes,)``.
    sizes
        Of the coordinates, broadcastable to ``(lanes, D)``.
    few
        As soon as no more lanes than this go on, they do so in a batch of as many; 0 for never.

    Returns
    -------
    Paths
        With what has changed.
    jax.Array
        Evaluations of the step, of all lanes together.
    """
    now = _Now(jnp.array(0), starts, moved, paths, jnp.array(0))
    now = _follow(meeting, now, values, sizes, few)
    if not few:
        return now.paths, now.evaluations
    lanes = len(moved)
    # Places that no lane is left for have a number that no lane has.
    which = jnp.nonzero(now.active, size=few, fill_value=lanes)[0]

    def own(tree: PyTree, axis: int) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.take(leaf, which, axis, mode="clip"), tree)

    def put(tree: PyTree, entries: PyTree) -> PyTree:
        return jax.tree.map(
            lambda leaf, entry: leaf.at[:, which].set(entry, mode="drop"), tree, entries
        )

    states, aux, spliced = now.paths
    their_own = Paths(own(states, 1), own(aux, 1), own(spliced, 0))
    rest = now._replace(state=own(now.state, 0), active=which < lanes, paths=their_own)
    own_sizes = own(sizes, 0) if sizes.ndim == 2 else sizes
    rest = _follow(meeting, rest, own(values, 1), own_sizes, 0)
    spliced = spliced.at[which].set(rest.paths.spliced, mode="drop")
    paths = Paths(put(states, rest.paths.states), put(aux, rest.paths.aux), spliced)
    return paths, rest.evaluations


def _follow(meeting: Meeting, now: _Now, values: PyTree, sizes: jax.Array, few: int) -> _Now:
    """Make the steps of all lanes until so few have not met their old paths."""
    recurrence, distance, tolerance, again = meeting
    step, agreeing = jax.vmap(recurrence.step), jax.vmap(recurrence.agreeing)
    length, lanes = jax.tree.leaves(values)[0].shape[:2]
    repeated = jnp.full(lanes, again)

    def going(now: _Now) -> jax.Array:
        return (now.t < length) & (now.active.sum() > few)

    def one(now: _Now) -> _Now:
        t, state, active, (states, aux, spliced), evaluations = now
        value, old, known = at(values, t), at(states, t), at(aux, t)
        # A tie that is decided otherwise would have a lane depart from its path again.
        value = select(repeated, agreeing(state, value, known), value)
        state, record = step(state, value)
        gap = distance(state, old, sizes)
        met = active & (gap <= tolerance) & again
        # The old state stays where the lane meets it, so that the steps after it are exact.
        states = _put(states, t, select(active & ~met, state, old))
        aux = _put(aux, t, select(active, record, known))
        spliced = jnp.maximum(spliced, jnp.where(met, gap, 0))
        paths = Paths(states, aux, spliced)
        return _Now(t + 1, state, active & ~met, paths, evaluations + lanes)

    return jax.lax.while_loop(going, one, now)


def _put(buffer: PyTree, row: jax.Array, entry: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, value: leaf.at[row].set(value), buffer, entry)
