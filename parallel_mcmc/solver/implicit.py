"""Derivatives of a solved chain, by the implicit function theorem.

At a solution ``s_t = f(s_{t-1}, u_t, θ)`` the tangents obey the affine recurrence
``ds_t = J_t ds_{t-1} + ∂f/∂u du_t + ∂f/∂θ dθ``: one scan with the true Jacobians, however many
iterations the solution took and whatever model of the Jacobian they used (arXiv 2309.12252,
section 3.2). Its transpose, which JAX derives, is the scan backwards in time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._tree import PyTree, preceding
from parallel_mcmc.solver.chart import is_real
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.scans import dense_scan
from parallel_mcmc.solver.solution import Solution


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def differentiable(
    solve: Callable[[Recurrence, PyTree, PyTree, PyTree], Solution],
    recurrence: Recurrence,
    initial_state: PyTree,
    inputs: PyTree,
    settings: PyTree,
) -> Solution:
    """Return ``solve(recurrence, initial_state, inputs, settings)``, differentiable.

    Only ``states`` has derivatives, with respect to all but the ``settings``; they are exact for
    the chain that is returned. Needs ``T x D x D`` memory when differentiated.
    """
    return solve(recurrence, initial_state, inputs, settings)


@differentiable.defjvp
def _tangent(solve: Callable, primals: tuple, tangents: tuple) -> tuple[Solution, Solution]:
    solution = differentiable(solve, *primals)
    leaves, treedef = jax.tree.flatten(primals[:3])
    real = [i for i, leaf in enumerate(leaves) if is_real(leaf)]
    moves = treedef.flatten_up_to(tangents[:3])

    def restored(parts: list) -> tuple[Recurrence, PyTree, PyTree]:
        changed = dict(zip(real, parts, strict=True))
        return treedef.unflatten([changed.get(i, leaf) for i, leaf in enumerate(leaves)])

    recurrence, start, inputs = primals[:3]
    arguments = preceding(start, solution.states)
    x = jax.vmap(recurrence.chart.coordinates)(arguments)

    def values(parts: list) -> jax.Array:
        """Return the value of every step; of the states, only the first one's start moves."""
        recurrence, start, inputs = restored(parts)
        moved = x.at[0].set(recurrence.chart.coordinates(start))
        return recurrence.lifted_steps(moved, arguments, inputs)[0]

    def jacobian(x: jax.Array, state: PyTree, value: PyTree) -> jax.Array:
        return jax.jacfwd(lambda z: recurrence.lifted_step(z, state, value)[0])(x)

    forcing = jax.jvp(values, ([leaves[i] for i in real],), ([moves[i] for i in real],))[1]
    # Not the scan of the platform: JAX 0.7 cannot transpose a loop in one of several branches.
    jacobians = jax.vmap(jacobian)(x, arguments, inputs)
    ds = dense_scan(jacobians, forcing, jax.lax.associative_scan)
    zero = jax.tree.map(_zero_tangent, solution)
    moved = jax.vmap(recurrence.chart.place)(jax.tree.map(jnp.zeros_like, solution.states), ds)
    states = jax.tree.map(lambda z, s: s if is_real(s) else z, zero.states, moved)
    return solution, zero._replace(states=states)


def _zero_tangent(leaf: jax.Array) -> Any:
    if is_real(leaf):
        return jnp.zeros_like(leaf)
    return np.zeros(jnp.shape(leaf), jax.dtypes.float0)
