"""A recurrence as a system of equations: what of it is unknown, and its solution."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, num_steps
from parallel_mcmc.solver.buffers import in_parts, joined
from parallel_mcmc.solver.chaos import is_probed, unless_chaotic
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.solution import Solution
from parallel_mcmc.solver.strides import largest_divisor, strided
from parallel_mcmc.solver.timeaxis import ONE_DEVICE, TimeAxis
from parallel_mcmc.solver.window import solve_in_windows


def solve_recurrence(
    recurrence: Recurrence,
    method: Newton,
    initial_state: PyTree,
    inputs: PyTree,
    *,
    window: int,
    max_iterations: int,
    tolerance: jax.Array | float,
    scale: jax.Array | None = None,
    initial_guess: PyTree | None = None,
    axis: TimeAxis = ONE_DEVICE,
    total: int | None = None,
) -> tuple[Solution, PyTree]:
    """Find all states of a recurrence; pure, and traceable by jit and vmap.

    The arguments are those of :func:`~parallel_mcmc.solver.window.solve_in_windows`; ``window``
    and ``total`` count steps. Where the first steps are chaotic the plain loop makes all of them.

    Returns
    -------
    Solution
        The states and how they were found.
    PyTree
        What the steps recorded, leading axis T.
    """
    total = num_steps(inputs) if total is None else total
    stride = stride_of(method, window, axis)
    settings = {
        "max_iterations": max_iterations,
        "tolerance": tolerance,
        "scale": scale,
        "axis": axis,
    }

    def every_state() -> tuple[Solution, PyTree]:
        arguments = recurrence, method, initial_state, inputs
        guess = {"initial_guess": initial_guess}
        return solve_in_windows(*arguments, window=window, total=total, **guess, **settings)

    def every_few() -> tuple[Solution, PyTree]:
        solution, (states, aux) = solve_in_windows(
            strided(recurrence, stride),
            method,
            initial_state,
            in_parts(inputs, stride),
            window=-(-window // stride),
            # None, where there is no guess, has no leaf.
            initial_guess=jax.tree.map(lambda leaf: in_parts(leaf, stride)[:, -1], initial_guess),
            total=-(-total // stride),
            **settings,
        )
        bundles = solution.fallback_steps
        left = jnp.clip(bundles * stride - (-total % stride), 0)
        found = solution._replace(
            states=joined(states, total),
            evaluations=(solution.evaluations - bundles) * stride + left,
            fallback_steps=left,
            growth=solution.growth / stride,
        )
        return found, joined(aux, total)

    solve = every_state if stride == 1 else every_few
    if not is_probed(recurrence, window, axis):
        return solve()
    return unless_chaotic(solve, recurrence, initial_state, inputs, max_iterations)


def stride_of(method: Newton, window: int, axis: TimeAxis = ONE_DEVICE) -> int:
    """Return every how many steps of such a window a state is unknown."""
    length = window // axis.size
    stride = method.stride_of(length)
    # A device's part of a window is made of whole strides.
    return stride if axis.size == 1 else largest_divisor(length, stride)
