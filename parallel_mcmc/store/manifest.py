"""The manifest of a checkpoint: what the run is, and how much of it is complete."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

FORMAT = "parallel_mcmc checkpoint"
FORMAT_VERSION = 1
FILE = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a run needs to go on, besides its arrays and its kernel; all of it is JSON."""

    num_chains: int
    num_samples: int
    segment_length: int
    """Draws of a segment; the last one may have fewer."""
    key: dict[str, Any]
    """The key of the run, from :func:`parallel_mcmc.store.keys.encode`."""
    position: Any
    """Structure of the positions of the process's chains, from
    :func:`parallel_mcmc.store.structure.encode`."""
    solver: str | None
    """``"parallel"``, ``"sequential"`` or ``"newton"``, which is ``pmc.Newton()``; None where it
    was another method of the user's."""
    window: int | None
    """Steps solved for together; None for the plain loop."""
    choice: dict[str, Any]
    """How the solver was chosen: the fields of :class:`parallel_mcmc.Choice`."""
    settings: dict[str, str]
    """Of kernel, solver and precision: what must be the same for the same chain."""
    environments: tuple[dict[str, Any], ...]
    """Versions, device and programs, each with the draw from which on they made the run."""
    first_chain: int = 0
    """Number of the first of the chains, where other shards have others."""
    all_chains: int | None = None
    """Chains of all shards; None if this one has all."""
    shards: int = 1
    """Shards of the run: groups of chains with a folder each."""
    processes: int = 1
    """Processes of the run; of several, each has one shard."""
    segments: int = 0
    """Segments that are complete."""
    seconds: float = 0.0
    """Time that they took, with that of other shards in between."""

    @property
    def chains(self) -> slice:
        """Which chains of the run these are."""
        return slice(self.first_chain, self.first_chain + self.num_chains)

    def of_chains(self, chains: slice) -> Manifest:
        """Return the manifest of other chains of the run."""
        count = chains.stop - chains.start
        return dataclasses.replace(self, num_chains=count, first_chain=chains.start)

    @property
    def of_process(self) -> slice:
        """Which chains of the run the process has, in this shard and others."""
        return self.chains if self.processes > 1 else slice(0, self.total_chains)

    @property
    def total_chains(self) -> int:
        """Chains of the whole run."""
        return self.num_chains if self.all_chains is None else self.all_chains

    @property
    def drawn(self) -> int:
        """Draws of every chain that are complete."""
        return min(self.segments * self.segment_length, self.num_samples)

    @property
    def total_segments(self) -> int:
        """Segments of the whole run."""
        return -(-self.num_samples // self.segment_length)

    def write(self, folder: Path) -> None:
        """Replace the manifest of a folder, in one step: after a crash it is the old or this."""
        run = dataclasses.asdict(self)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "sha256": _digest(run),
            "run": run,
        }
        partial = folder / f"{FILE}.partial"
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(folder / FILE)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync(folder)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return the manifest of a folder.

        Raises
        ------
        ValueError
            If there is none, or it is damaged or of another format.
        """
        try:
            text = (folder / FILE).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ValueError(
                f"path must be a checkpoint of sample(..., checkpoint=path), got {str(folder)!r}, "
                f"where there is no {FILE}"
            ) from error
        try:
            content = json.loads(text)
            form, version = content["format"], content["format_version"]
            if (form, version) == (FORMAT, FORMAT_VERSION) and content["sha256"] != _digest(
                content["run"]
            ):
                raise ValueError("its checksum does not match")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{folder / FILE} is damaged ({error}): the run cannot be resumed. Its draws can "
                "still be read with Zarr"
            ) from error
        if (form, version) != (FORMAT, FORMAT_VERSION):
            raise ValueError(
                f"path must be a checkpoint of format {FORMAT!r}, version {FORMAT_VERSION}, got "
                f"{form!r}, version {version}"
            )
        run = content["run"]
        return cls(**run | {"environments": tuple(run["environments"])})


def _digest(run: dict[str, Any]) -> str:
    # As JSON has it: a tuple is a list.
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot, and need not
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
