"""Runs with a checkpoint: how one begins, and how it goes on."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from parallel_mcmc._errors import require_flag, require_path, require_positive_int
from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.choice import Choice
from parallel_mcmc.kernels.base import Kernel, require_kernel
from parallel_mcmc.kernels.chain import Parallel, Sequential
from parallel_mcmc.placement.base import ON_ONE_DEVICE, Placement
from parallel_mcmc.placement.over_mesh import OverMesh, require_chain_mesh
from parallel_mcmc.sampling import Samples, chain_keys, chain_step_sizes
from parallel_mcmc.segments import abstract_segment, run_segments, segment_length
from parallel_mcmc.solver import Newton
from parallel_mcmc.store import keys, structure
from parallel_mcmc.store.arrays import Arrays
from parallel_mcmc.store.identity import environment, run_settings, solver_settings
from parallel_mcmc.store.layout import layout
from parallel_mcmc.store.making import make_checkpoint
from parallel_mcmc.store.manifest import Manifest
from parallel_mcmc.store.match import (
    abstract_states,
    match,
    match_states,
    own_positions,
    runner_of,
)
from parallel_mcmc.store.recorder import OnDisk
from parallel_mcmc.store.shards import fewest, own_of_run, shard_folders, together
from parallel_mcmc.store.stored_samples import StoredSamples

LONGEST_SEGMENT = 10_000
"""Draws of a segment by default: the memory of a run does not grow with its length."""
LARGEST_SEGMENT = 2**26
"""Bytes of a segment's states by default."""


def begin(
    path: str | os.PathLike[str],
    runner: Parallel | Sequential,
    kernel: Kernel,
    states: PyTree,
    key: jax.Array,
    draw_keys: jax.Array,
    choice: Choice,
    *,
    placement: Placement,
    every: int | None,
    progress_bar: bool,
) -> Samples:
    """Make a checkpoint, and draw the chains that follow ``states``.

    Parameters
    ----------
    path
        Folder of the checkpoint.
    runner
        How the chains are run.
    kernel
        A transition kernel.
    states
        States of the kernel, leaves ``(num_chains, ...)``.
    key
        From which the key of every draw comes, by :func:`parallel_mcmc.sampling.chain_keys`.
    draw_keys
        These, shape ``(num_chains, num_samples)``.
    choice
        How ``runner`` was chosen.
    placement
        Where they are drawn.
    every, progress_bar
        As :func:`parallel_mcmc.sample` has them.

    Raises
    ------
    ValueError
        If there is something at ``path``, or an array cannot be stored.
    """
    placement = placement.by_process()
    all_chains, num_samples = draw_keys.shape[:2]
    states = at(states, placement.kept)
    num_chains = len(jax.tree.leaves(states)[0])
    if every is None:
        largest = LARGEST_SEGMENT // sum(leaf.nbytes for leaf in jax.tree.leaves(states))
        most = max(1, min(LONGEST_SEGMENT, largest))
        every = min(most, segment_length(runner, num_samples, None))
    length = placement.segment(
        runner,
        segment_length(runner, num_samples, require_positive_int("checkpoint_every", every)),
    )
    manifest = Manifest(
        num_chains=num_chains,
        num_samples=num_samples,
        segment_length=length,
        key=keys.encode(key),
        position=structure.encode(states.position),
        **solver_settings(runner),
        choice=choice._asdict(),
        settings=run_settings(kernel, runner, placement),
        environments=(environment(kernel, states.position, from_draw=0),),
        first_chain=placement.kept.start or 0,
        all_chains=all_chains,
        shards=jax.process_count(),
    )
    own_keys = draw_keys[placement.kept, :length]
    plan = layout(abstract_segment(runner, kernel, states, own_keys), num_samples)
    folder = together(lambda: make_checkpoint(path, manifest, plan, states))
    recorder = OnDisk(folder, manifest, plan, Arrays.open(folder, plan.specs))
    return _run(recorder, runner, kernel, states, draw_keys, placement, progress_bar)


def resume(
    path: str | os.PathLike[str],
    kernel: Kernel,
    initial_position: PyTree = None,
    *,
    solver: str | Newton | None = None,
    progress_bar: bool = True,
    accept_environment: bool = False,
    mesh: Mesh | None = None,
) -> Samples:
    """Go on with a run of ``sample(..., checkpoint=path)``, to the draws it would have had.

    The draws are, bit for bit, those of the run without the interruption. What the checkpoint
    holds is read and its checksums are verified first; if a chunk is damaged, the run goes on from
    before it. Where all has been drawn already, nothing is drawn.

    A log density is code, and a checkpoint holds none, so that the kernel must be given again. It
    is compared with that of the run: its class and numbers, the program of its log density and of
    a transition (the jaxpr, with its constants), and the first states computed with it.

    Parameters
    ----------
    path
        Folder of the checkpoint.
    kernel
        The kernel that the run began with.
    initial_position
        The position that it began at. Needed where the positions are not made of dictionaries,
        lists and tuples, or where the checkpoint's own first state is damaged.
    solver
        Needed where the run was given a :class:`Newton` method: the same method.
    progress_bar
        Whether to show one.
    accept_environment
        Whether to go on with another version of this package or of JAX, or on another device, than
        the run began with. The chain is valid all the same; its draws may then differ from those
        of the run without the interruption, by rounding and what follows from it.
    mesh
        Needed where the run was given one: devices in the same arrangement. As many processes as
        began the run must make this call.

    Returns
    -------
    Samples
        Of the whole run; read from the checkpoint when they are first asked for.

    Raises
    ------
    CheckpointMismatchError
        If the checkpoint is of another kernel, log density, position, solver, precision or
        environment; the message names what differs.
    ValueError
        If there is no checkpoint at ``path``, or an argument that is needed is missing.
    TypeError
        If ``path`` is no path, or ``kernel`` no kernel.
    OSError
        If the checkpoint cannot be written.

    Warns
    -----
    CheckpointDamageWarning
        If a part of the checkpoint was damaged and is drawn again.
    InterruptedWarning
        If interrupted from the keyboard, as :func:`sample`.

    Examples
    --------
    >>> import tempfile, jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/run"
    ...     samples = pmc.sample(
    ...         jax.random.key(0), kernel, jnp.zeros(2), 100, checkpoint=path, progress_bar=False
    ...     )
    ...     again = pmc.resume(path, kernel, progress_bar=False)
    ...     bool((again.position == samples.position).all())
    True
    """
    whole = require_path("path", path)
    require_kernel("kernel", kernel)
    require_flag("progress_bar", progress_bar)
    require_flag("accept_environment", accept_environment)
    going = together(
        lambda: _prepare(whole, kernel, initial_position, solver, accept_environment, mesh)
    )
    recorder = going.recorder
    recorder.keep_whole()
    if going.is_new_environment:
        run = recorder.manifest
        now = environment(kernel, going.position, from_draw=recorder.drawn)
        recorder.write_manifest(dataclasses.replace(run, environments=(*run.environments, now)))
    begin = fewest(recorder.manifest.segments)
    recorder.draw_again(recorder.manifest.segments - begin)
    states = recorder.state(begin)
    return _run(
        recorder, going.runner, kernel, states, going.draw_keys, going.placement, progress_bar
    )


class _Going(NamedTuple):
    """A run that can go on."""

    recorder: OnDisk
    runner: Parallel | Sequential
    placement: Placement
    position: PyTree
    """Shapes and dtypes of the positions of the process's own chains."""
    draw_keys: jax.Array
    """Of all chains."""
    is_new_environment: bool


def _prepare(
    path: Path,
    kernel: Kernel,
    initial_position: PyTree,
    solver: str | Newton | None,
    accept_environment: bool,
    mesh: Mesh | None,
) -> _Going:
    """Open the process's checkpoint, and compare it with the arguments of :func:`resume`."""
    folder = own_of_run(path)
    manifest = Manifest.read(folder)
    placement: Placement = ON_ONE_DEVICE
    if mesh is not None:
        placement = OverMesh(require_chain_mesh("mesh", mesh), manifest.total_chains)
    placement = placement.by_process()
    runner = placement.adapt(runner_of(manifest, solver, placement.blocks))
    if initial_position is not None:
        initial_position = own_positions(manifest, initial_position)
    position, accepted = match(
        folder, manifest, kernel, runner, placement, initial_position, accept_environment
    )
    init_keys, draw_keys = chain_keys(
        keys.decode(manifest.key), manifest.total_chains, manifest.num_samples
    )
    init_keys = init_keys[manifest.chains]
    shapes = abstract_states(kernel, position, init_keys)
    own_keys = draw_keys[manifest.chains, : manifest.segment_length]
    plan = layout(abstract_segment(runner, kernel, shapes, own_keys), manifest.num_samples)
    recorder = OnDisk(folder, manifest, plan, Arrays.open(folder, plan.specs))
    match_states(recorder, kernel, init_keys, initial_position, accept_environment)
    return _Going(recorder, runner, placement, position, draw_keys, accepted)


def _run(
    recorder: OnDisk,
    runner: Parallel | Sequential,
    kernel: Kernel,
    states: PyTree,
    draw_keys: jax.Array,
    placement: Placement,
    progress_bar: bool,
) -> Samples:
    run = recorder.manifest
    run_segments(
        runner,
        kernel,
        states,
        draw_keys,
        recorder,
        run.segment_length,
        placement=placement,
        progress_bar=progress_bar,
    )
    together(lambda: None)  # until all of them have written their chains
    shards = [recorder]
    if run.shards > 1:
        shards = [recorder.beside(folder) for folder in shard_folders(recorder.folder.parent)]
    step_sizes = chain_step_sizes(kernel, run.total_chains)
    return StoredSamples.of(shards, Choice(**run.choice), step_sizes)
