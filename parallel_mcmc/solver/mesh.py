"""A chain over the devices of a mesh: the check of the mesh, and the solve in blocks over it."""

from __future__ import annotations

import math
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from parallel_mcmc._tree import PyTree, any_traced, num_steps
from parallel_mcmc.solver.buffers import in_parts, joined
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.shooting import Shooting
from parallel_mcmc.solver.solution import Solution
from parallel_mcmc.solver.system import solve_recurrence
from parallel_mcmc.solver.timeaxis import DATA, TIME, Blocks
from parallel_mcmc.solver.verdict import LONGEST_BLOCK


def require_mesh(name: str, mesh: Any) -> Mesh:
    """Return ``mesh``, of whose axes no array's type tells: the user's step need not know them.

    Raises
    ------
    TypeError
        If it is no :class:`jax.sharding.Mesh`.
    """
    if not isinstance(mesh, Mesh):
        raise TypeError(f"{name} must be a jax.sharding.Mesh, got {type(mesh).__name__}: {mesh!r}")
    return Mesh(mesh.devices, mesh.axis_names)


def require_time_mesh(name: str, mesh: Any) -> Mesh:
    """Return what :func:`require_mesh` does; raise ValueError if there is no axis ``"time"``."""
    mesh = require_mesh(name, mesh)
    if TIME not in mesh.axis_names:
        raise ValueError(f"{name} must have an axis {TIME!r}, got axes {mesh.axis_names}")
    return mesh


def require_spreadable(method: Newton | Shooting) -> None:
    """Raise ValueError if the method knows one device only: shooting, and trust regions."""
    if isinstance(method, Shooting):
        raise ValueError(f"method must be a Newton method if mesh is given, got {method!r}")
    if method.trust_region is not None:
        raise ValueError(
            "method must have no trust_region if mesh is given, got "
            f"{type(method.trust_region).__name__}"
        )


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


def manual_axes(mesh: Mesh) -> frozenset[str]:
    """Return the axes along which we place what there is; data are placed by their user."""
    return frozenset(mesh.axis_names) - {DATA}


def blocks_of(mesh: Mesh) -> Blocks:
    """Return the time axis of a chain over the mesh."""
    chains = math.prod(mesh.shape[name] for name in manual_axes(mesh) - {TIME})
    return Blocks(mesh.shape[TIME], alone=chains == 1)


def require_short_blocks(length: int) -> None:
    """Raise ValueError if a device would have more steps of a window than it can count."""
    if length > LONGEST_BLOCK:
        raise ValueError(
            f"window must give every device at most {LONGEST_BLOCK} steps, got {length}: give a "
            "shorter window"
        )


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
    """Solve with the steps of every window in blocks over the axis ``"time"``.

    The last window is filled up, and so is every window if the devices do not divide it.
    """
    total = num_steps(inputs)
    blocks = mesh.shape[TIME]
    window += -window % blocks
    length = window // blocks
    require_short_blocks(length)
    settings = dict(settings)
    over_time, everywhere = PartitionSpec(None, TIME), PartitionSpec()
    along = in_parts((inputs, settings.pop("initial_guess")), window)

    def block(recurrence, initial_state, along, settings):
        inputs, initial_guess = joined(along)
        solution, _ = solve_recurrence(
            recurrence,
            initial_state=initial_state,
            inputs=inputs,
            initial_guess=initial_guess,
            window=window,
            max_iterations=max_iterations,
            axis=blocks_of(mesh),
            total=total,
            **settings,
        )
        return in_parts(solution.states, length), solution._replace(states=())

    # A user's loop may start from a constant: what varies over devices is not tracked by type.
    spread = jax.shard_map(
        block,
        mesh=mesh,
        in_specs=(everywhere, everywhere, over_time, everywhere),
        out_specs=(over_time, everywhere),
        axis_names=manual_axes(mesh),
        check_vma=False,
    )
    states, rest = spread(recurrence, initial_state, along, settings)
    return rest._replace(states=joined(states, total))
