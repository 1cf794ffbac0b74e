"""The shards of a run: checkpoints of a part of its chains, one for each process or group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from parallel_mcmc.store.manifest import Manifest

T = TypeVar("T")
PREFIX = "shard-"


def shards_in(folder: Path, count: int) -> list[Path]:
    """Return where as many shards are kept: ``folder`` itself if it is only one."""
    return [folder] if count == 1 else [folder / f"{PREFIX}{n:05d}" for n in range(count)]


def own_folder(folder: Path) -> Path:
    """Return where this process keeps its chains: ``folder`` itself if it is the only one."""
    return shards_in(folder, jax.process_count())[jax.process_index()]


def shard_folders(folder: Path) -> list[Path]:
    """Return the checkpoints that a folder is made of, by the order of their chains.

    Raises
    ------
    ValueError
        If one of several is missing.
    """
    found = sorted(folder.glob(f"{PREFIX}*/"))
    if not found:
        return [folder]
    count = Manifest.read(found[0]).shards
    if len(found) != count:
        raise ValueError(
            f"path must hold all {count} shards of the run, got {len(found)} in {str(folder)!r}"
        )
    return found


def own_of_run(folder: Path) -> list[Path]:
    """Return this process's checkpoints of a run, by the order of their chains.

    Raises
    ------
    ValueError
        If another number of processes began it, or the folder is one shard of several.
    """
    found = shard_folders(folder)
    run = Manifest.read(found[0])
    if len(found) != run.shards:
        raise ValueError(
            f"path must be that of the whole run, {str(folder.parent)!r}, got one of its "
            f"{run.shards} shards: {str(folder)!r}"
        )
    if run.processes != jax.process_count():
        raise ValueError(
            f"path must be of a run by as many processes as there are, {jax.process_count()}, got "
            f"one by {run.processes}: {str(folder)!r}"
        )
    return found if run.processes == 1 else [own_folder(folder)]


def together(action: Callable[[], T]) -> T:
    """Do what every process does; if it fails in one of them, it fails in all.

    Raises
    ------
    RuntimeError
        If it has failed in another process. The process's own exception goes on as it is.
    """
    if jax.process_count() == 1:
        return action()
    error, result = None, None
    try:
        result = action()
    except Exception as raised:  # whatever it is: the others are told
        error = raised
    failed = np.flatnonzero(multihost_utils.process_allgather(np.array(error is not None)))
    if error is not None:
        raise error
    if failed.size:
        raise RuntimeError(f"failed in process {failed.tolist()}, whose exception says why")
    return result  # pyright: ignore[reportReturnType]


def fewest(count: int) -> int:
    """Return the smallest count that a process has."""
    if jax.process_count() == 1:
        return count
    return int(np.min(multihost_utils.process_allgather(np.array(count))))
