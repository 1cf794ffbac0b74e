"""How a checkpoint is made: in one step, where nothing is."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from parallel_mcmc._errors import require_path
from parallel_mcmc._tree import PyTree
from parallel_mcmc.store.arrays import Arrays
from parallel_mcmc.store.layout import Layout
from parallel_mcmc.store.manifest import FILE, Manifest, sync
from parallel_mcmc.store.recorder import OnDisk
from parallel_mcmc.store.shards import own_folder, shard_folders, shards_in


def make_checkpoint(
    path: str | os.PathLike[str],
    manifests: Sequence[Manifest],
    plan: Layout,
    starts: Sequence[PyTree],
) -> list[Path]:
    """Make a checkpoint with no draws yet.

    Parameters
    ----------
    path
        Folder of the run.
    manifests
        Of every group of this process's chains.
    plan
        Layout of each of them.
    starts
        States that the chains of each start from, leaves ``(num_chains, ...)``.

    Returns
    -------
    list of Path
        Folder of every group: that of the run if there is one group of one process.

    Raises
    ------
    ValueError
        If there is something at ``path``, or an array cannot be stored.
    """
    whole = require_path("checkpoint", path)
    if (whole / FILE).exists():
        _require_new(whole)  # shards have no place in the checkpoint of another run
    folder = _require_new(own_folder(whole))
    # In one step: a folder of this name is a whole checkpoint, with no draws yet.
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    new.mkdir()
    try:
        parts = zip(shards_in(new, len(manifests)), manifests, starts, strict=True)
        for part, manifest, states in parts:
            part.mkdir(exist_ok=True)
            OnDisk(part, manifest, plan, Arrays.create(part, plan.specs)).write_start(states)
            manifest.write(part)
        for part in new.rglob("*"):
            sync(part)
        new.rename(folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return shards_in(folder, len(manifests))


def _require_new(folder: Path) -> Path:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        remedy = "Choose another path, or delete what is there"
        try:
            runs = [Manifest.read(part) for part in shard_folders(folder)]
            drawn = min(run.drawn for run in runs)
            what = f"{drawn} of {runs[0].num_samples} draws. pmc.resume({str(folder)!r}, kernel)"
            remedy = f"It holds {what} goes on with them; to start anew, delete it"
        except ValueError:
            pass
        raise ValueError(
            f"checkpoint must be a path where nothing is, got {str(folder)!r}. {remedy}"
        )
    return folder
