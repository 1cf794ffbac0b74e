"""Samples that stay on disk until they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from parallel_mcmc._tree import PyTree
from parallel_mcmc.choice.outcome import Choice
from parallel_mcmc.recording import joined
from parallel_mcmc.sampling import Samples
from parallel_mcmc.segments import total_stats
from parallel_mcmc.store.errors import DamagedChunk
from parallel_mcmc.store.recorder import OnDisk


class StoredSamples(Samples):
    """The draws of a checkpoint: each field is read as a whole when it is first asked for."""

    _shards: Sequence[OnDisk]

    @classmethod
    def of(cls, shards: Sequence[OnDisk], choice: Choice, step_size: Any) -> StoredSamples:
        """Return the samples of what recorders have of a run, each of some of its chains."""
        self = object.__new__(cls)
        segments = min(shard.manifest.segments for shard in shards)
        parts = [shard.stats(segments) for shard in shards]
        stats = total_stats(parts, shards[0].manifest.num_samples)
        # The dataclass is frozen, and its fields for the draws stay unset.
        self.__dict__.update(
            _shards=shards,
            stats=stats._replace(choice=choice),
            final_state=joined([shard.state(segments) for shard in shards]),
            step_size=step_size,
            sampling_time=max(shard.manifest.seconds for shard in shards),
        )
        return self

    @cached_property
    def position(self) -> PyTree:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Positions; leaves have shape ``(num_chains, num_samples, ...)``."""
        return self._read("position")

    @cached_property
    def info(self) -> PyTree:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Information about every transition, leaves ``(num_chains, num_samples, ...)``."""
        return self._read("info")

    @cached_property
    def logdensity(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Log density of every draw; None where the kernel does not know it."""
        return self._read("logdensity")

    @property
    def _drawn(self) -> int:
        return min(shard.manifest.drawn for shard in self._shards)

    @property
    def _path(self) -> str:
        return str(self._shards[0].path)

    def _read(self, name: str) -> PyTree:
        try:
            return joined(
                [shard.read(getattr(shard.names, name), self._drawn) for shard in self._shards]
            )
        except DamagedChunk as damage:
            raise OSError(
                f"the checkpoint is damaged: {damage}. "
                f"pmc.resume({self._path!r}, kernel) draws again what is lost"
            ) from damage

    def __repr__(self) -> str:
        run = self._shards[0].manifest
        return (
            f"<{self._drawn} of {run.num_samples} draws of {run.total_chains} chains in "
            f"{self._path!r}>"
        )
