"""``verify``: every edge of a solved chain, evaluated anew."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, preceding
from parallel_mcmc.solver.batches import in_blocks
from parallel_mcmc.solver.solution import Problem, Solution


def verify(solution: Solution) -> jax.Array:
    """Evaluate every edge of a solved chain anew.

    Parameters
    ----------
    solution
        A result of :func:`solve`.

    Returns
    -------
    jax.Array
        ``max |step(s_{t-1}, inputs_t) - s_t|`` over the floating-point components of the state, in
        the state's own units, shape ``(T,)``; infinite where it is not finite or another
        component differs.

    Raises
    ------
    TypeError
        If ``solution`` is no :class:`Solution`.
    ValueError
        If it does not come from :func:`solve`.

    Examples
    --------
    >>> import jax.numpy as jnp, parallel_mcmc as pmc
    >>> solution = pmc.solve(lambda x, u: 0.5 * x + u, jnp.zeros(2), jnp.ones((100, 2)))
    >>> bool((pmc.verify(solution) < 1e-3).all())
    True
    """
    if not isinstance(solution, Solution):
        raise TypeError(f"solution must be a Solution, got {type(solution).__name__}")
    if solution.problem is None:
        raise ValueError("solution must come from pmc.solve: this one does not hold its problem")
    return _edges(solution.problem, solution.states)


@jax.jit
def _edges(problem: Problem, states: PyTree) -> jax.Array:
    recurrence = problem.recurrence
    arguments = preceding(problem.initial_state, states)
    values, _ = in_blocks(recurrence.step, arguments, problem.inputs)

    def edge(value: PyTree, state: PyTree) -> jax.Array:
        chart = recurrence.chart
        gap = jnp.max(jnp.abs(chart.coordinates(value) - chart.coordinates(state)))
        rest = zip(
            jax.tree.leaves(chart.rest(value)), jax.tree.leaves(chart.rest(state)), strict=True
        )
        same = jnp.array([jnp.isfinite(gap), *((a == b).all() for a, b in rest)]).all()
        return jnp.where(same, gap, jnp.inf)

    return jax.vmap(edge)(values, states)
