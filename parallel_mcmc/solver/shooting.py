"""Multiple shooting: a chain in stretches, for recurrences that forget where they began."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_positive_int
from parallel_mcmc._tree import STATIC, PyTree, at, pytree
from parallel_mcmc.solver.buffers import cut, uncut
from parallel_mcmc.solver.lanes import shoot
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.solution import Solution

FEWEST_ROUNDS = 4
"""Rounds after the first that are made in any case."""

LANES_A_ROUND = 4
"""One round for every so many lanes, where that is more."""


@pytree
@dataclasses.dataclass(frozen=True)
class Shooting:
    """Multiple shooting: the chain in ``lanes`` stretches of one length, side by side.

    All lanes make their first step in one batch, then their second, and so on; each begins where
    the chain begins, or where a kernel's own model of its transitions leads. Then a lane begins
    anew from where the lane before it ended, and goes on until it meets its own old path: from
    there on that path is right. Where the recurrence forgets its start in few steps, as most
    transition kernels do when they are driven by the same random numbers, this takes hardly more
    than one evaluation a step, and no Jacobian.

    Where it does not, the rounds end after a quarter of the lanes and one more, or five, and the
    plain loop takes over.

    Parameters
    ----------
    lanes
        Number of stretches: steps that are evaluated in one batch.

    Raises
    ------
    ValueError
        If ``lanes`` is no positive integer.

    References
    ----------
    Lions, Maday, Turinici, C. R. Acad. Sci. Paris 332 (2001), 661: parareal, here with a coarse
    propagator for the first guess at most. Propp and Wilson, Random Struct. Alg. 9 (1996), 223,
    for chains that meet.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> inputs = jax.random.normal(jax.random.key(0), (1024, 3))
    >>> def step(x, u):
    ...     return 0.5 * jnp.sin(x) + u
    >>> solution = pmc.solve(step, jnp.zeros(3), inputs, method=pmc.Shooting(lanes=16))
    >>> bool(solution.converged), bool(solution.evaluations < 1.5 * 1024)
    (True, True)
    """

    lanes: int = dataclasses.field(default=32, metadata=STATIC)

    def __post_init__(self) -> None:
        require_positive_int("lanes", self.lanes)


def require_method(name: str, value: object) -> Newton | Shooting:
    """Return ``value``; raises TypeError if it is no method of :func:`solve`."""
    if isinstance(value, Newton | Shooting):
        return value
    raise TypeError(
        f"{name} must be a Newton method such as pmc.Newton() or pmc.quasi_deer(), or "
        f"pmc.Shooting(), got {type(value).__name__}: {value!r}"
    )


def default_max_rounds(lanes: int) -> int:
    """Return the budget of rounds, the first included."""
    return 1 + max(FEWEST_ROUNDS, lanes // LANES_A_ROUND)


def shoot_in_windows(
    recurrence: Recurrence,
    initial_states: PyTree,
    inputs: PyTree,
    *,
    window: int,
    initial_guess: PyTree | None = None,
    **settings: Any,
) -> tuple[Solution, PyTree]:
    """Find all states of several chains, one window of steps after the other.

    Parameters and results are those of :func:`shoot`; ``max_rounds`` are those of a window.

    Parameters
    ----------
    window
        Most steps of a window; windows are of one length.
    """
    total = jax.tree.leaves(inputs)[0].shape[1]
    if window >= total:
        return shoot(recurrence, initial_states, inputs, initial_guess=initial_guess, **settings)
    count = -(-total // window)
    length = -(-total // count)

    def in_windows(leaf: jax.Array) -> jax.Array:
        return jnp.moveaxis(cut(leaf, count, length), 1, 0)

    def in_turn(leaf: jax.Array) -> jax.Array:
        return uncut(jnp.moveaxis(leaf, 0, 1), total)

    def solve_one(before: PyTree, given: tuple) -> tuple[PyTree, tuple[Solution, PyTree]]:
        values, guess, first = given
        left = jnp.minimum(total - first, length)
        found = shoot(recurrence, before, values, initial_guess=guess, left=left, **settings)
        return jax.tree.map(lambda leaf: leaf[:, -1], found[0].states), found

    given = *jax.tree.map(in_windows, (inputs, initial_guess)), jnp.arange(count) * length
    solutions, aux = jax.lax.scan(solve_one, initial_states, given)[1]
    solution = Solution(
        states=jax.tree.map(in_turn, solutions.states),
        converged=solutions.converged.all(axis=0),
        iterations=solutions.iterations.sum(axis=0),
        evaluations=solutions.evaluations.sum(axis=0),
        residual=solutions.residual.max(axis=0),
        fallback_steps=solutions.fallback_steps.sum(axis=0),
        residual_history=jnp.nanmax(solutions.residual_history, axis=0),
        growth=at(solutions.growth, -1),
    )
    return solution, jax.tree.map(in_turn, aux)
