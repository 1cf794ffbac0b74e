"""The Newton loop over one window, or over a window that slides along the chain."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, at, num_steps, preceding
from parallel_mcmc.solver.buffers import padded_by, section, shifted, written
from parallel_mcmc.solver.chaos import CHAOS, PROBATION
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.newton import Iteration, newton_iteration
from parallel_mcmc.solver.plain_loop import finish_sequentially
from parallel_mcmc.solver.recurrence import Recurrence, Steps
from parallel_mcmc.solver.safeguards import Memory
from parallel_mcmc.solver.solution import Solution
from parallel_mcmc.solver.timeaxis import TimeAxis


class _Carry(NamedTuple):
    done: jax.Array
    """Number of states found, all of them in ``states``."""
    blocked: jax.Array
    """Whether the next state is known and is not finite: no iteration will mend it."""
    anchor: PyTree
    """The state before the guess."""
    guess: PyTree
    memory: Memory
    """Without its ``value`` in a single window: those are the coordinates of ``states``."""
    states: PyTree
    aux: PyTree
    iterations: jax.Array
    residual: jax.Array
    history: jax.Array
    growth: jax.Array
    """Growth of errors along the iterate at the end of the probation, NaN before."""


def solve_in_windows(
    recurrence: Recurrence,
    method: Newton,
    initial_state: PyTree,
    inputs: PyTree,
    *,
    window: int,
    max_iterations: int,
    tolerance: jax.Array | float,
    scale: jax.Array | None,
    initial_guess: PyTree | None,
    axis: TimeAxis,
    total: int,
) -> tuple[Solution, PyTree]:
    """Find all states of a recurrence that are unknown.

    A window of ``window`` steps is iterated on and slides forward by the states that have
    converged. After ``max_iterations`` the sequential loop finishes from the last exact state.

    A window over many devices does not slide, which would move its states from device to device:
    the next one begins where it ends. A device then has a block of every window.

    Parameters
    ----------
    axis
        How the steps of ``inputs`` and ``initial_guess`` are part of the windows.
    total
        Number of steps that count, T, if ``inputs`` has not as many: those that follow only fill
        up the last window over many devices.

    Returns
    -------
    Solution
        The states and how they were found.
    PyTree
        What the steps recorded, leading axis T.
    """
    length = window // axis.size
    # One window needs no room to slide in.
    several = window < total
    sliding = several and axis.size == 1
    padding = 2 * window if sliding else 0
    padded = padded_by(inputs, padding)
    guesses = None if initial_guess is None else padded_by(initial_guess, padding)

    def predict(anchor: PyTree, start: jax.Array | int) -> PyTree:
        if guesses is not None:
            return section(guesses, start, length)
        return recurrence.guess(anchor, section(padded, start, length))

    dim, dtype = _vector_type(recurrence, initial_state)
    continues = guesses is None and sliding and recurrence.continues(inputs, window, dim)

    def following_window(carry: _Carry, step: Iteration) -> PyTree:
        """Guess the states after those of the window."""
        last, start = at(step.guess, window - 1), carry.done + window
        if not continues:
            return predict(last, start)
        arguments, inputs = (
            preceding(carry.anchor, carry.guess),
            section(padded, carry.done, window),
        )
        made = Steps(arguments, inputs, step.values, step.aux)
        reach = step.spread * (1 if method.radius is None else method.radius)
        return recurrence.continued(step.model, made, section(padded, start, window), last, reach)

    def begin_of(carry: _Carry) -> jax.Array | int:
        """Return the first step of the window."""
        if sliding:
            return carry.done
        return carry.done // window * window if several else 0

    def recalled(carry: _Carry) -> Memory:
        if several:
            return carry.memory
        values = jax.vmap(recurrence.chart.coordinates)(carry.states)
        known = jnp.where(carry.memory.known[:, None], values, 0)
        return carry.memory._replace(value=known)

    def body(carry: _Carry) -> _Carry:
        begin = begin_of(carry)
        step = newton_iteration(
            method,
            recurrence,
            carry.anchor,
            carry.guess,
            section(padded, begin // axis.size, length),
            recalled(carry),
            scale,
            carry.iterations,
            tolerance=tolerance,
            left=total - begin,
            axis=axis,
        )
        found = step.found
        history = carry.history.at[carry.iterations].set(found.gap)
        progress = carry._replace(
            blocked=found.blocked,
            iterations=carry.iterations + 1,
            residual=jnp.maximum(carry.residual, found.residual),
            history=history,
            growth=jax.lax.cond(
                carry.iterations + 1 == PROBATION,
                lambda: step.model.growth(step.usable, axis).astype(dtype),
                lambda: carry.growth,
            ),
        )
        advance = slide if sliding else take_turns if several else stay
        return advance(progress, step, found.accepted)

    def stay(carry: _Carry, step: Iteration, accepted: jax.Array) -> _Carry:
        return carry._replace(
            done=accepted,
            anchor=step.before,
            guess=step.guess,
            memory=step.memory._replace(value=()),
            states=step.values,
            aux=step.aux,
        )

    def slide(carry: _Carry, step: Iteration, accepted: jax.Array) -> _Carry:
        # The window's values are written whole: later iterations overwrite what is not yet exact.
        tail = following_window(carry, step)
        fresh = method.initial_memory(window, *_vector_type(recurrence, carry.anchor))
        return carry._replace(
            done=carry.done + accepted,
            anchor=at(step.values, accepted - 1),
            guess=shifted(step.guess, tail, accepted),
            memory=shifted(step.memory, fresh, accepted),
            states=written(carry.states, step.values, carry.done),
            aux=written(carry.aux, step.aux, carry.done),
        )

    def take_turns(carry: _Carry, step: Iteration, accepted: jax.Array) -> _Carry:
        begin = begin_of(carry)
        row = begin // axis.size
        done = begin + accepted

        def following() -> tuple:
            last = axis.last(step.values)
            guess = predict(last, row + length)
            fresh = method.initial_memory(length, *_vector_type(recurrence, last))
            return axis.before(last, guess), guess, fresh

        anchor, guess, memory = jax.lax.cond(
            (accepted == window) & (done < total),
            following,
            lambda: (step.before, step.guess, step.memory),
        )
        return carry._replace(
            done=done,
            anchor=anchor,
            guess=guess,
            memory=memory,
            states=written(carry.states, step.values, row),
            aux=written(carry.aux, step.aux, row),
        )

    shapes = jax.eval_shape(recurrence.step, initial_state, at(inputs, 0))
    states, aux = jax.tree.map(
        lambda leaf: jnp.zeros((num_steps(padded), *leaf.shape), leaf.dtype), shapes
    )
    guess = predict(initial_state, 0)
    memory = method.initial_memory(length, dim, dtype)
    start = _Carry(
        done=jnp.array(0),
        blocked=jnp.array(False),
        anchor=axis.before(initial_state, guess),
        guess=guess,
        memory=memory if several else memory._replace(value=()),
        states=states,
        aux=aux,
        iterations=jnp.array(0),
        residual=jnp.zeros((), dtype),
        history=jnp.full(max_iterations, jnp.nan, dtype),
        growth=jnp.full((), jnp.nan, dtype),
    )

    def unfinished(carry: _Carry) -> jax.Array:
        # A chain that is slow for another reason than chaos keeps its budget.
        too_slow = carry.done * max_iterations < total * carry.iterations
        chaotic = (carry.growth * window > CHAOS) & too_slow
        within = (carry.done < total) & (carry.iterations < max_iterations)
        return within & ~carry.blocked & ~chaotic

    end = jax.lax.while_loop(unfinished, body, start)
    finish = partial(finish_sequentially, recurrence, inputs)
    states, aux = axis.in_turn(finish, initial_state, end.done, total, length, end.states, end.aux)
    per_iteration = window * method.jacobian.evaluations(dim)
    solution = Solution(
        states=jax.tree.map(lambda leaf: leaf[:total], states),
        converged=end.done == total,
        iterations=end.iterations,
        evaluations=end.iterations * per_iteration + (total - end.done),
        residual=end.residual,
        fallback_steps=total - end.done,
        residual_history=end.history,
        growth=end.growth,
    )
    return solution, jax.tree.map(lambda leaf: leaf[:total], aux)


def _vector_type(recurrence: Recurrence, state: PyTree) -> tuple[int, Any]:
    vector = jax.eval_shape(recurrence.chart.coordinates, state)
    return vector.shape[0], vector.dtype
