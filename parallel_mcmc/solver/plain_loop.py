"""The plain loop over the steps of a recurrence: all of them, or those that a solve has left."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, at, select
from parallel_mcmc.solver.recurrence import Recurrence


def run_sequentially(
    recurrence: Recurrence, initial_state: PyTree, inputs: PyTree
) -> tuple[PyTree, PyTree]:
    """Return the states and records of the plain loop, each with a leading axis T."""
    return make_steps(recurrence.step, initial_state, inputs)[1]


def make_steps(
    step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    state: PyTree,
    inputs: PyTree,
    unroll: int = 1,
) -> tuple[PyTree, tuple[PyTree, PyTree]]:
    """Make a step with each of ``inputs``, one after the other, ``unroll`` in a round of the loop.

    Returns the last state, and the states and records of all steps.
    """

    def one(state: PyTree, value: PyTree) -> tuple[PyTree, tuple[PyTree, PyTree]]:
        state, aux = step(state, value)
        return state, (state, aux)

    return jax.lax.scan(one, state, inputs, unroll=unroll)


def finish_sequentially(
    recurrence: Recurrence,
    inputs: PyTree,
    before: PyTree,
    row: jax.Array | int,
    start: jax.Array,
    stop: jax.Array | int,
    states: PyTree,
    aux: PyTree,
) -> tuple[PyTree, PyTree]:
    """Compute the steps ``row + start`` to ``row + stop`` by the plain loop.

    ``before`` precedes the step at ``row``.
    """
    last = select(start > 0, at(states, jnp.maximum(row + start - 1, 0)), before)

    def body(carry: tuple) -> tuple:
        t, state, states, aux = carry
        state, record = recurrence.step(state, at(inputs, t))
        put = jax.tree.map(lambda buffer, leaf: buffer.at[t].set(leaf), states, state)
        put_aux = jax.tree.map(lambda buffer, leaf: buffer.at[t].set(leaf), aux, record)
        return t + 1, state, put, put_aux

    carry = row + start, last, states, aux
    return jax.lax.while_loop(lambda c: c[0] < row + stop, body, carry)[2:]
