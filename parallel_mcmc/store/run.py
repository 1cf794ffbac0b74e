"""Runs with a checkpoint: how one begins, and how it goes on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import jax
from jax.sharding import Mesh

from parallel_mcmc._errors import require_flag, require_path, require_positive_int
from parallel_mcmc._tree import PyTree, part
from parallel_mcmc.choice.outcome import Choice
from parallel_mcmc.kernels.base import Kernel, require_kernel
from parallel_mcmc.kernels.chain import Runner
from parallel_mcmc.placement.base import Placement
from parallel_mcmc.sampling import Samples, chain_step_sizes
from parallel_mcmc.segments import Group, abstract_segment, run_segments, segment_length
from parallel_mcmc.solver import Newton, Shooting
from parallel_mcmc.store import keys, structure
from parallel_mcmc.store.arrays import Arrays
from parallel_mcmc.store.identity import environment, run_settings, solver_settings
from parallel_mcmc.store.layout import layout
from parallel_mcmc.store.making import make_checkpoint
from parallel_mcmc.store.manifest import Manifest
from parallel_mcmc.store.recorder import OnDisk
from parallel_mcmc.store.reopening import reopen
from parallel_mcmc.store.shards import fewest, shard_folders, together
from parallel_mcmc.store.stored_samples import StoredSamples

LONGEST_SEGMENT = 10_000
"""Draws of a segment by default: the memory of a run does not grow with its length."""
LARGEST_SEGMENT = 2**26
"""Bytes of a segment's states by default."""


def begin(
    path: str | os.PathLike[str],
    runner: Runner,
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
    groups = placement.groups(runner, all_chains)
    starts = [part(states, chains) for chains in groups]
    states = part(states, slice(groups[0].start, groups[-1].stop))
    if every is None:
        largest = LARGEST_SEGMENT // sum(leaf.nbytes for leaf in jax.tree.leaves(states))
        most = max(1, min(LONGEST_SEGMENT, largest))
        every = min(most, segment_length(runner, num_samples, None))
    length = placement.segment(
        runner,
        segment_length(runner, num_samples, require_positive_int("checkpoint_every", every)),
    )
    manifest = Manifest(
        num_chains=len(jax.tree.leaves(starts[0])[0]),
        num_samples=num_samples,
        segment_length=length,
        key=keys.encode(key),
        position=structure.encode(states.position),
        **solver_settings(runner),
        choice=choice._asdict(),
        settings=run_settings(kernel, runner, placement),
        environments=(environment(kernel, states.position, from_draw=0),),
        first_chain=groups[0].start,
        all_chains=all_chains,
        shards=len(groups) * jax.process_count(),
        processes=jax.process_count(),
    )
    group_keys = draw_keys[groups[0], :length]
    plan = layout(abstract_segment(runner, kernel, starts[0], group_keys), num_samples)
    manifests = [manifest.of_chains(chains) for chains in groups]
    folders = together(lambda: make_checkpoint(path, manifests, plan, starts))
    recorders = [
        OnDisk(folder, one, plan, Arrays.open(folder, plan.specs))
        for folder, one in zip(folders, manifests, strict=True)
    ]
    return _run(recorders, runner, kernel, starts, draw_keys, placement, progress_bar)


def resume(
    path: str | os.PathLike[str],
    kernel: Kernel,
    initial_position: PyTree = None,
    *,
    solver: str | Newton | Shooting | None = None,
    progress_bar: bool = True,
    accept_environment: bool = False,
    mesh: Mesh | None = None,
) -> Samples:
    """Go on with a run of ``sample(..., checkpoint=path)``, to the draws it would have had.

    The draws are, bit for bit, those of the run without the interruption. What the checkpoint
    holds is read and its checksums are verified first; if a chunk is damaged, the run goes on from
    before it. Where each chain was written by itself, each goes on from where it is. Where all has
    been drawn already, nothing is drawn.

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
        lambda: reopen(whole, kernel, initial_position, solver, accept_environment, mesh)
    )
    recorders = going.recorders
    for recorder in recorders:
        recorder.keep_whole()
    if going.is_new_environment:
        now = environment(kernel, going.position, from_draw=0)
        # The first one last: it is compared, and stands for all.
        for recorder in reversed(recorders):
            run, here = recorder.manifest, now | {"from_draw": recorder.drawn}
            recorder.write_manifest(
                dataclasses.replace(run, environments=(*run.environments, here))
            )
    starts = []
    for recorder in recorders:
        begin = fewest(recorder.manifest.segments)
        recorder.draw_again(recorder.manifest.segments - begin)
        starts.append(recorder.state(begin))
    return _run(
        recorders, going.runner, kernel, starts, going.draw_keys, going.placement, progress_bar
    )


def _run(
    recorders: Sequence[OnDisk],
    runner: Runner,
    kernel: Kernel,
    starts: Sequence[PyTree],
    draw_keys: jax.Array,
    placement: Placement,
    progress_bar: bool,
) -> Samples:
    run = recorders[0].manifest
    run_segments(
        runner,
        kernel,
        [
            Group(one.manifest.chains, start, one)
            for one, start in zip(recorders, starts, strict=True)
        ],
        draw_keys,
        run.segment_length,
        placement=placement,
        progress_bar=progress_bar,
    )
    together(lambda: None)  # until all of them have written their chains
    shards = recorders
    if run.processes > 1:
        shards = [shards[0].beside(folder) for folder in shard_folders(shards[0].path)]
    step_sizes = chain_step_sizes(kernel, run.total_chains)
    return StoredSamples.of(shards, Choice(**run.choice), step_sizes)
