"""Stretches of one or more chains, run side by side until each meets the one before it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, all_finite, at, num_steps, select
from parallel_mcmc.solver.buffers import cut, uncut
from parallel_mcmc.solver.foresight import EVALUATIONS, foreseen
from parallel_mcmc.solver.meeting import Meeting, Paths, go_on
from parallel_mcmc.solver.plain_loop import finish_sequentially
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.residual import observed_scale, residual_of
from parallel_mcmc.solver.solution import Solution
from parallel_mcmc.solver.verdict import leading


class _Carry(NamedTuple):
    """Leading axis of what belongs to lanes: all lanes of the first chain, then of the next."""

    paths: Paths
    starts: PyTree
    """Where the lanes began."""
    wanted: PyTree
    """Where the lanes before them end."""
    gap: jax.Array
    """How far these are apart, in units of the scale; infinite before the first round."""
    sizes: jax.Array
    """The scale, broadcastable to the coordinates of all lanes."""
    rounds: jax.Array
    evaluations: jax.Array
    """Of the step, for all chains together."""
    history: jax.Array


def shoot(
    recurrence: Recurrence,
    initial_states: PyTree,
    inputs: PyTree,
    *,
    lanes: int,
    max_rounds: int,
    tolerance: jax.Array | float,
    scale: jax.Array | None = None,
    initial_guess: PyTree | None = None,
    left: jax.Array | int | None = None,
    foresight: int = 0,
    few: int = 0,
) -> tuple[Solution, PyTree]:
    """Find all states of several chains of one recurrence; pure, and traceable by jit.

    The chains are a batch axis like the lanes, so that one loop has them all.

    Parameters
    ----------
    recurrence
        A recurrence.
    initial_states
        Before the first steps, leaves ``(C, ...)``.
    inputs
        Leaves ``(C, T, ...)``.
    lanes
        Stretches of each chain.
    max_rounds
        Rounds before the plain loop takes over, the first included.
    tolerance
        Largest residual of a step where a lane meets its old path, in units of the scale.
    scale
        Typical size of each coordinate, broadcastable to ``(D,)``; None to observe it along the
        first lane, all of which is exact.
    initial_guess
        Guess of the states, leaves ``(C, T, ...)``; by default lanes begin where the chain does.
    left
        Number of steps that count, all T by default: those that follow only fill up.
    foresight
        Steps before each lane that the recurrence guesses, to begin where they lead if that can be
        trusted; needs a scale. See
        :func:`~parallel_mcmc.solver.foresight.foreseen`.
    few
        The last lanes of a round go on by themselves, in a batch of so many; 0 for never. It pays
        where a batch of a step takes the longer the more lanes are in it.

    Returns
    -------
    Solution
        The states and how they were found; every field has a leading axis C.
    PyTree
        What the steps recorded, leading axes ``(C, T)``.
    """
    chains, total = jax.tree.leaves(inputs)[0].shape[:2]
    last = total if left is None else left
    length = -(-total // lanes)
    lanes = -(-total // length)
    values = jax.tree.map(partial(_side_by_side, lanes=lanes, length=length), inputs)
    coordinates = jax.vmap(recurrence.chart.coordinates)
    step = jax.vmap(recurrence.step)

    def distance(new: PyTree, old: PyTree, sizes: jax.Array) -> jax.Array:
        finite = jax.vmap(all_finite)(new)
        y, x = coordinates(new), coordinates(old)
        return residual_of(recurrence, new, old, y, x, sizes, finite, tolerance)

    def starts_after(ends: PyTree) -> PyTree:
        """Return where the lanes should begin, by where they end."""
        others = jax.tree.map(
            lambda leaf: leaf.reshape(chains, lanes, *leaf.shape[1:])[:, :-1], ends
        )
        return _after(initial_states, others)

    begin = jax.tree.map(lambda leaf: jnp.repeat(leaf, lanes, axis=0), initial_states)
    seen = min(foresight, total) if initial_guess is None and lanes > 1 else 0
    if initial_guess is not None:
        rows = jnp.maximum(jnp.arange(lanes) * length - 1, 0)
        guessed = jax.tree.map(lambda leaf: leaf[:, rows], initial_guess)
        begin = _after(initial_states, jax.tree.map(lambda leaf: leaf[:, 1:], guessed))
    elif seen:
        assert scale is not None
        firsts = jnp.arange(1, lanes) * length
        # From its first state on, where a chain has fewer steps before a lane.
        rows = jnp.maximum(firsts - seen, 0)
        before = jax.tree.map(
            lambda leaf: _joined(leaf[:, rows[:, None] + jnp.arange(seen)]), inputs
        )
        starts = jax.tree.map(lambda leaf: jnp.repeat(leaf, lanes - 1, axis=0), initial_states)
        counts = jnp.tile(firsts - rows, chains)
        found = foreseen(recurrence, starts, before, counts, partial(distance, sizes=scale))
        begin = _after(
            initial_states,
            jax.tree.map(lambda leaf: leaf.reshape(chains, -1, *leaf.shape[1:]), found),
        )

    def one_round(carry: _Carry) -> _Carry:
        moved = ~(carry.gap <= tolerance)
        first = carry.rounds == 0
        meeting = Meeting(recurrence, distance, tolerance, ~first)
        paths, made = go_on(meeting, carry.paths, values, carry.wanted, moved, carry.sizes, few)
        starts = select(moved, carry.wanted, carry.starts)
        wanted = starts_after(at(paths.states, -1))
        sizes = carry.sizes
        if scale is None:
            observed = partial(_first_lane_scale, coordinates, initial_states, paths.states)
            sizes = jax.lax.cond(first, observed, lambda: sizes)
        gap = distance(wanted, starts, sizes)
        widest = gap.reshape(chains, lanes).max(axis=1)
        return _Carry(
            paths,
            starts,
            wanted,
            gap,
            sizes,
            carry.rounds + 1,
            carry.evaluations + made,
            carry.history.at[:, carry.rounds].set(widest),
        )

    def unfinished(carry: _Carry) -> jax.Array:
        return ~(carry.gap <= tolerance).all() & (carry.rounds < max_rounds)

    # The first round is like the others, but that no lane has an old path to meet.
    states, aux = jax.tree.map(
        lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype),
        jax.eval_shape(step, begin, at(values, 0)),
    )
    shape = jax.eval_shape(coordinates, begin)
    never = jnp.full(chains * lanes, jnp.inf, shape.dtype)
    zero = jnp.array(0)
    start = _Carry(
        Paths(states, aux, jnp.zeros_like(never)),
        begin,
        begin,
        never,
        jnp.ones(shape.shape, shape.dtype) if scale is None else scale,
        zero,
        zero,
        jnp.full((chains, max_rounds), jnp.nan, shape.dtype),
    )
    end = jax.lax.while_loop(unfinished, one_round, start)

    exact = jax.vmap(leading)((end.gap <= tolerance).reshape(chains, lanes))
    done = jnp.minimum(exact * length, last)
    paths = end.paths.states, end.paths.aux
    states, aux = jax.tree.map(lambda leaf: _in_turn(leaf, lanes, total), paths)
    states, aux = _finished(recurrence, initial_states, inputs, done, last, states, aux)
    worst = jnp.maximum(end.gap, end.paths.spliced).reshape(chains, lanes)
    found = jnp.arange(lanes) < exact[:, None]
    fallback = last - done
    guessed = EVALUATIONS * (lanes - 1) if seen else 0
    solution = Solution(
        states=states,
        converged=fallback == 0,
        iterations=jnp.full(chains, end.rounds),
        evaluations=-(-end.evaluations // chains) + guessed + fallback,
        residual=jnp.max(jnp.where(found, worst, 0), axis=1),
        fallback_steps=fallback,
        residual_history=end.history,
        growth=jnp.full(chains, jnp.nan, shape.dtype),
    )
    return solution, aux


def _finished(
    recurrence: Recurrence,
    initial_states: PyTree,
    inputs: PyTree,
    done: jax.Array,
    left: jax.Array | int,
    states: PyTree,
    aux: PyTree,
) -> tuple[PyTree, PyTree]:
    """Complete the steps from ``done`` to ``left`` of every chain by the plain loop."""

    def finish(chain: tuple) -> tuple[PyTree, PyTree]:
        before, value, start, states, aux = chain
        return finish_sequentially(recurrence, value, before, 0, start, left, states, aux)

    chains = initial_states, inputs, done, states, aux
    # One chain after the other: in a batch, every step would copy all the states.
    return jax.lax.cond(
        (done < left).any(), lambda: jax.lax.map(finish, chains), lambda: (states, aux)
    )


def _first_lane_scale(
    coordinates: Callable[[PyTree], jax.Array], initial_states: PyTree, states: PyTree
) -> jax.Array:
    """Return the root mean square distance from the first state, for every lane: ``(B, D)``."""
    chains = num_steps(initial_states)
    lanes = jax.tree.leaves(states)[0].shape[1] // chains
    first = jax.tree.map(lambda leaf: leaf[:, ::lanes].swapaxes(0, 1), states)

    def of_chain(state: PyTree, path: PyTree) -> jax.Array:
        finite = jax.vmap(all_finite)(path)
        anchor = coordinates(jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], state))[0]
        return observed_scale(coordinates(path), anchor, finite)[-1]

    return jnp.repeat(jax.vmap(of_chain)(initial_states, first), lanes, axis=0)


def _side_by_side(leaf: jax.Array, lanes: int, length: int) -> jax.Array:
    """Return ``(C, T, ...)`` as ``(length, C * lanes, ...)``; the last entry fills up."""
    return jnp.moveaxis(cut(leaf, lanes, length), 2, 0).reshape(length, -1, *leaf.shape[2:])


def _in_turn(leaf: jax.Array, lanes: int, total: int) -> jax.Array:
    """Return ``(length, C * lanes, ...)`` as ``(C, T, ...)``."""
    return uncut(jnp.moveaxis(leaf.reshape(len(leaf), -1, lanes, *leaf.shape[2:]), 0, 2), total)


def _after(first: PyTree, others: PyTree) -> PyTree:
    """Return ``first`` and the ``others`` of every chain, leading axis ``C * lanes``."""

    def joined(leaf: jax.Array, rest: jax.Array) -> jax.Array:
        return _joined(jnp.concatenate([leaf[:, None], rest], axis=1))

    return jax.tree.map(joined, first, others)


def _joined(leaf: jax.Array) -> jax.Array:
    """Return ``(C, L, ...)`` with both axes in one."""
    return leaf.reshape(-1, *leaf.shape[2:])
