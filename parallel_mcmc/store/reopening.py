"""How the checkpoints of a run are opened to go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Runner
from parallel_mcmc.placement.base import ON_ONE_DEVICE, Placement
from parallel_mcmc.placement.over_mesh import OverMesh, require_chain_mesh
from parallel_mcmc.sampling import chain_keys
from parallel_mcmc.segments import abstract_segment
from parallel_mcmc.solver import Newton, Shooting
from parallel_mcmc.store import keys
from parallel_mcmc.store.arrays import Arrays
from parallel_mcmc.store.layout import layout
from parallel_mcmc.store.manifest import Manifest
from parallel_mcmc.store.match import (
    abstract_states,
    match,
    match_states,
    own_positions,
    runner_of,
)
from parallel_mcmc.store.recorder import OnDisk
from parallel_mcmc.store.shards import own_of_run


class Reopened(NamedTuple):
    """A run that can go on."""

    recorders: list[OnDisk]
    """One for each group of the process's own chains."""
    runner: Runner
    placement: Placement
    position: PyTree
    """Shapes and dtypes of the positions of the process's own chains."""
    draw_keys: jax.Array
    """Of all chains."""
    is_new_environment: bool


def reopen(
    path: Path,
    kernel: Kernel,
    initial_position: PyTree,
    solver: str | Newton | Shooting | None,
    accept_environment: bool,
    mesh: Mesh | None,
) -> Reopened:
    """Open this process's checkpoints of a run, and compare them with what it is to go on with.

    Parameters
    ----------
    path
        Folder of the run.
    kernel, initial_position, solver, accept_environment, mesh
        As :func:`parallel_mcmc.resume` has them.

    Raises
    ------
    CheckpointMismatchError, ValueError
        As :func:`parallel_mcmc.resume`.
    """
    folder, *others = own_of_run(path)
    manifest = Manifest.read(folder)
    placement: Placement = ON_ONE_DEVICE
    if mesh is not None:
        placement = OverMesh(require_chain_mesh("mesh", mesh), manifest.total_chains)
    placement = placement.by_process()
    runner = placement.adapt(runner_of(manifest, solver, placement.blocks))
    if initial_position is not None:
        initial_position = own_positions(manifest, initial_position)
    position, accepted = match(
        path, manifest, kernel, runner, placement, initial_position, accept_environment
    )
    init_keys, draw_keys = chain_keys(
        keys.decode(manifest.key), manifest.total_chains, manifest.num_samples
    )
    init_keys = init_keys[manifest.of_process]
    shapes = abstract_states(kernel, position, init_keys)
    own_keys = draw_keys[manifest.of_process, : manifest.segment_length]
    plan = layout(abstract_segment(runner, kernel, shapes, own_keys), manifest.num_samples)
    plan = plan.of_chains(manifest.num_chains)
    recorder = OnDisk(folder, manifest, plan, Arrays.open(folder, plan.specs))
    recorders = [recorder, *(recorder.beside(other) for other in others)]
    match_states(recorders, kernel, init_keys, initial_position, accept_environment)
    return Reopened(recorders, runner, placement, position, draw_keys, accepted)
