"""Whether a kernel, and all that belongs to it, is that of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from parallel_mcmc._errors import require_arrays
from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.choice.runner import choose_runner
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Runner
from parallel_mcmc.kernels.start import initial_states
from parallel_mcmc.placement.base import Placement
from parallel_mcmc.recording import joined
from parallel_mcmc.solver import Newton, Shooting
from parallel_mcmc.store import structure
from parallel_mcmc.store.errors import CheckpointMismatchError, DamagedChunk
from parallel_mcmc.store.identity import NEWTON, SHOOTING, environment, run_settings
from parallel_mcmc.store.manifest import Manifest
from parallel_mcmc.store.recorder import OnDisk


def runner_of(
    manifest: Manifest, solver: str | Newton | Shooting | None, blocks: int = 1
) -> Runner:
    """Return how the run goes on: as it began, unless ``solver`` says otherwise.

    Raises
    ------
    ValueError
        If the run was given a method, and ``solver`` is None.
    """
    if solver is None:
        solver = _solver_named(manifest.solver)
    if solver is None:
        raise ValueError(
            "solver must be the pmc.Newton method that the run was given, which a checkpoint "
            "cannot hold, got None"
        )
    return choose_runner(solver, manifest.window, manifest.num_samples, blocks)


def _solver_named(name: str | None) -> str | Newton | Shooting | None:
    if name is not None and name.startswith(SHOOTING):
        return Shooting(int(name.removeprefix(SHOOTING)))
    return Newton() if name == NEWTON else name


def own_positions(manifest: Manifest, initial_position: PyTree) -> PyTree:
    """Return the positions of a process's own chains, leaves ``(num_chains, ...)``."""
    position = require_arrays("initial_position", initial_position)
    if manifest.total_chains == 1:
        return jax.tree.map(lambda leaf: leaf[None], position)
    return position if manifest.processes == 1 else at(position, manifest.chains)


def match(
    folder: Path,
    manifest: Manifest,
    kernel: Kernel,
    runner: Runner,
    placement: Placement,
    initial_position: PyTree,
    accept_environment: bool,
) -> tuple[PyTree, bool]:
    """Compare what is given with what the run was made with.

    Returns
    -------
    position
        Shapes and dtypes of the positions of all chains.
    bool
        Whether another environment has been accepted.

    Raises
    ------
    CheckpointMismatchError
        If there is a difference; the message names all that can be told.
    ValueError
        If ``initial_position`` is needed and not given.
    """
    before = manifest.environments[-1]
    wrong = compare(manifest.settings, run_settings(kernel, runner, placement))
    position, lines = _position(manifest, initial_position)
    wrong += lines
    other: list[str] = []
    # Where JAX's precision is another one, no program can be the same.
    if not any(line.startswith("JAX's") for line in wrong) and not lines:
        try:
            now = environment(kernel, position, from_draw=0)
        except Exception as error:  # whatever a log density may raise
            wrong.append(
                f"position: {structure.leaf_types(position)} in the checkpoint, which the kernel "
                f"does not accept ({type(error).__name__}: {error})"
            )
        else:
            other = compare(before["versions"], now["versions"])
            if not other:
                wrong += _compare_programs(before["programs"], now["programs"], bool(wrong))
    refuse(folder, wrong, other, accept_environment)
    return position, bool(other)


def _position(manifest: Manifest, initial_position: PyTree) -> tuple[PyTree, list[str]]:
    """Return the structure of the positions, and a line for each difference to the one given."""
    if initial_position is None:
        try:
            return structure.decode(manifest.position), []
        except LookupError as error:
            raise ValueError(
                "initial_position must be given again, since a checkpoint cannot hold its "
                f"structure, {error}"
            ) from error
    position = jax.eval_shape(lambda tree: tree, initial_position)
    try:
        stored = structure.leaf_types(structure.decode(manifest.position))
    except LookupError as error:
        stored = manifest.position["leaves"]
        given = str(jax.tree.structure(position))
        if given != str(error):
            return position, [f"initial_position: {error} in the checkpoint, {given} given"]
    lines = compare(stored, structure.leaf_types(position))
    return position, [f"initial_position{line}" for line in lines]


def abstract_states(kernel: Kernel, position: PyTree, init_keys: jax.Array) -> PyTree:
    """Return shapes and dtypes of the states at the positions of all chains."""
    return jax.eval_shape(jax.vmap(kernel.init), position, init_keys)


def match_states(
    recorders: Sequence[OnDisk],
    kernel: Kernel,
    init_keys: jax.Array,
    initial_position: PyTree,
    accept_environment: bool,
) -> None:
    """Compare the states that the run started from with those that the kernel gives now.

    Raises
    ------
    CheckpointMismatchError
        If they differ.
    ValueError
        If those of the checkpoint are damaged, and ``initial_position`` is not given.
    """
    num_chains = len(init_keys)

    def first_states(positions: PyTree) -> PyTree:
        if num_chains == 1:
            positions = at(positions, 0)
        return initial_states(kernel, positions, num_chains, init_keys)

    given = None if initial_position is None else first_states(initial_position)
    starts, damaged = [], []
    for recorder in recorders:
        try:
            starts.append(recorder.state(0))
        except DamagedChunk as damage:
            if given is None:
                raise ValueError(
                    "initial_position must be given again, since the checkpoint is damaged: "
                    f"{damage}"
                ) from damage
            first = recorder.manifest.first_chain - recorders[0].manifest.first_chain
            starts.append(at(given, slice(first, first + recorder.manifest.num_chains)))
            damaged.append((recorder, starts[-1]))
    stored = joined(starts)
    lines = _compare_states(stored, first_states(stored.position) if given is None else given)
    refuse(recorders[0].path, *lines, accept_environment)
    for recorder, start in damaged:
        recorder.write_start(start)


def refuse(folder: Path, wrong: list[str], other: list[str], accept_environment: bool) -> None:
    """Raise if there is a difference, but for those of the environment where these are accepted.

    Raises
    ------
    CheckpointMismatchError
        With one line for each difference, and what to do.
    """
    if wrong:
        remedy = (
            "Give what the run began with, or start another run, by sample with another checkpoint."
        )
    elif other and not accept_environment:
        remedy = (
            "With accept_environment=True the run goes on all the same; its draws may then differ "
            "by rounding from those of a run that was not interrupted."
        )
    else:
        return
    lines = "".join(f"\n  {line}" for line in [*wrong, *other])
    raise CheckpointMismatchError(
        f"the checkpoint {str(folder)!r} is of another run:{lines}\n{remedy}"
    )


def compare(stored: dict[str, str], given: dict[str, str]) -> list[str]:
    """Return a line for every entry that differs."""
    lines = []
    for name in [*stored, *(name for name in given if name not in stored)]:
        before, now = stored.get(name, "absent"), given.get(name, "absent")
        if before != now:
            lines.append(f"{name}: {before} in the checkpoint, {now} given")
    return lines


def _compare_programs(
    stored: dict[str, str], given: dict[str, str], is_explained: bool
) -> list[str]:
    names = [name for name in stored if stored[name] != given.get(name)]
    # A transition is another one if its log density is, or a setting.
    if is_explained or len(names) > 1:
        names = [name for name in names if name != "a transition"]
    return [f"{name}: another program than in the checkpoint" for name in names]


def _compare_states(stored: PyTree, given: PyTree) -> tuple[list[str], list[str]]:
    """Return a line for every leaf of the first states that differs, and where but by rounding.

    Both have the same structure, shapes and dtypes.
    """
    different, rounded = [], []
    leaves = jax.tree_util.tree_leaves_with_path(stored)
    for (path, before), now in zip(leaves, jax.tree.leaves(given), strict=True):
        before, now = np.asarray(before), np.asarray(now)
        if np.array_equal(before, now, equal_nan=before.dtype.kind == "f"):
            continue
        # The first entry that differs most tells more than a digest.
        gap = np.abs(before.astype(float) - now.astype(float))
        at = np.unravel_index(np.argmax(gap), gap.shape)
        line = (
            f"initial state{jax.tree_util.keystr(path)}{list(map(int, at))}: {before[at]} in the "
            f"checkpoint, {now[at]} given"
        )
        scale = np.max(np.abs(before))
        is_rounding = before.dtype.kind == "f" and (
            gap.max() <= np.sqrt(np.finfo(before.dtype).eps) * scale
        )
        (rounded if is_rounding else different).append(line)
    return different, rounded
