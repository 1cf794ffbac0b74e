"""A chain over the devices of a mesh: the check of the mesh, and the solve in blocks over it."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from parallel_mcmc._tree import PyTree, any_traced
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.solution import Solution
from parallel_mcmc.solver.timeaxis import TIME, Blocks
from parallel_mcmc.solver.window import padded_by, solve_recurrence


def require_mesh(name: str, mesh: Any) -> Mesh:
    """Return ``mesh``, of whose axes no array's type tells: the user's step need not know them.

    Raises
    ------
    TypeError
        If it is no :class:`jax.sharding.Mesh`.
    ValueError
        If it has no axis ``"time"``.
    """
    if not isinstance(mesh, Mesh):
        raise TypeError(f"{name} must be a jax.sharding.Mesh, got {type(mesh).__name__}: {mesh!r}")
    if TIME not in mesh.axis_names:
        raise ValueError(f"{name} must have an axis {TIME!r}, got axes {mesh.axis_names}")
    return Mesh(mesh.devices, mesh.axis_names)


def placed_along(mesh: Mesh, tree: PyTree) -> PyTree:
    """Return arrays of T rows spread over the mesh; on every device where it does not divide T.

    A traced value stays where it is.
    """

    def placed(leaf: jax.Array) -> jax.Array:
        if any_traced(leaf):
            return leaf
        divides = leaf.shape[0] % mesh.shape[TIME] == 0
        spec = PartitionSpec(TIME) if divides else PartitionSpec()
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    return jax.tree.map(placed, tree)


def solve_over_mesh(
    mesh: Mesh,
    recurrence: Recurrence,
    initial_state: PyTree,
    inputs: PyTree,
    settings: dict[str, Any],
    *,
    window: int,
    max_iterations: int,
) -> Solution:
    """Solve with the steps in blocks over the axis ``"time"``, the last one filled up."""
    blocks = mesh.shape[TIME]
    total = window
    missing = -total % blocks
    settings = dict(settings)
    over_time, everywhere = PartitionSpec(TIME), PartitionSpec()
    along = padded_by((inputs, settings.pop("initial_guess")), missing)

    def block(recurrence, initial_state, along, settings):
        inputs, initial_guess = along
        solution, _ = solve_recurrence(
            recurrence,
            initial_state=initial_state,
            inputs=inputs,
            initial_guess=initial_guess,
            window=total + missing,
            max_iterations=max_iterations,
            axis=Blocks(blocks),
            total=total,
            **settings,
        )
        return solution.states, solution._replace(states=())

    # A user's loop may start from a constant: what varies over devices is not tracked by type.
    spread = jax.shard_map(
        block,
        mesh=mesh,
        in_specs=(everywhere, everywhere, over_time, everywhere),
        out_specs=(over_time, everywhere),
        check_vma=False,
    )
    states, rest = spread(recurrence, initial_state, along, settings)
    return rest._replace(states=jax.tree.map(lambda leaf: leaf[:total], states))
