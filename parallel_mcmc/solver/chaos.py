"""Chaos spreads errors faster than iterations mend them: noticed early, it costs next to nothing.

The first steps are made by the plain loop, with a tangent. Where that shows nothing, the linear
model of the tenth iterate is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, at, num_steps
from parallel_mcmc.solver.plain_loop import run_sequentially
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.solution import Solution
from parallel_mcmc.solver.timeaxis import TimeAxis

PROBATION = 10
"""The iteration that estimates whether the recurrence is chaotic."""

CHAOS = 20
"""Chaos multiplies a small error by more than e to this power over the window. A random walk, whose
errors neither grow nor shrink, is none."""

PROBED_STEPS = 64

LEAST_WINDOW = 16 * PROBED_STEPS
"""Shortest window that is probed: an iteration of it costs several times a probe."""


def is_probed(recurrence: Recurrence, window: int, axis: TimeAxis) -> bool:
    """Return whether the first steps are made by the plain loop before the first iteration.

    On an accelerator 64 single steps may take longer than the whole solve. Steps that decide may
    be wild at first, where a chain comes from afar, and tame later.
    """
    on_cpu = jax.default_backend() == "cpu"
    return on_cpu and recurrence.margin is None and axis.size == 1 and window >= LEAST_WINDOW


def unless_chaotic(
    iterate: Callable[[], tuple[Solution, PyTree]],
    recurrence: Recurrence,
    initial_state: PyTree,
    inputs: PyTree,
    max_iterations: int,
) -> tuple[Solution, PyTree]:
    """Return what ``iterate`` finds; where the first steps are chaotic, what the plain loop finds.

    Parameters
    ----------
    iterate
        Solves the recurrence.
    recurrence, initial_state, inputs
        What it solves, leading axis T of ``inputs``.
    max_iterations
        Length of the history of residuals.
    """
    growth = early_growth(recurrence, initial_state, at(inputs, slice(PROBED_STEPS)))

    def plain_loop() -> tuple[Solution, PyTree]:
        states, aux = run_sequentially(recurrence, initial_state, inputs)
        total = jnp.array(num_steps(inputs))
        history = jnp.full(max_iterations, jnp.nan, growth.dtype)
        solution = Solution(
            states=states,
            converged=jnp.array(False),
            iterations=jnp.array(0),
            evaluations=total,
            residual=jnp.zeros_like(growth),
            fallback_steps=total,
            residual_history=history,
            growth=growth,
        )
        return solution, aux

    solution, aux = jax.lax.cond(growth * PROBED_STEPS > CHAOS, plain_loop, iterate)
    return solution._replace(evaluations=solution.evaluations + 2 * PROBED_STEPS), aux


def early_growth(recurrence: Recurrence, initial_state: PyTree, inputs: PyTree) -> jax.Array:
    """Return how much the logarithm of a small difference grows in a step, on average, scalar.

    A tangent vector is carried along (Benettin, Galgani, Giorgilli, Strelcyn, Meccanica 15, 1980).
    It is rescaled by a constant, and only where it has become large or small: a norm and a division
    in every step would take longer than many a step itself.

    Parameters
    ----------
    recurrence
        A recurrence.
    initial_state
        Where it starts.
    inputs
        Of the steps to make.
    """
    x = recurrence.chart.coordinates(initial_state)
    large = jnp.finfo(x.dtype).max ** 0.25

    def step(carry: tuple[PyTree, jax.Array, jax.Array], value: PyTree) -> tuple[Any, None]:
        state, tangent, rescaled = carry
        _, image, (state, _) = jax.jvp(
            lambda x: recurrence.lifted_step(x, state, value),
            (recurrence.chart.coordinates(state),),
            (tangent,),
            has_aux=True,
        )
        size = jnp.abs(image).max()
        grown, shrunk = size > large, size * large < 1
        factor = jnp.where(grown, 1 / large, jnp.where(shrunk, large, 1))
        return (
            state,
            image * factor,
            rescaled + jnp.where(grown, 1, jnp.where(shrunk, -1, 0)),
        ), None

    # No special direction: one that grows is hardly orthogonal to it.
    tangent = jnp.cos(jnp.arange(x.size, dtype=x.dtype))
    carry = initial_state, tangent / jnp.linalg.norm(tangent), jnp.zeros((), x.dtype)
    _, tangent, rescaled = jax.lax.scan(step, carry, inputs)[0]
    return (rescaled * jnp.log(large) + jnp.log(jnp.linalg.norm(tangent))) / num_steps(inputs)
