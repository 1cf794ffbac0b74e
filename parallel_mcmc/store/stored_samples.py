"""Samples that stay on disk until they are asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.chain import ChainStats
from parallel_mcmc.sampling import Samples
from parallel_mcmc.store.errors import DamagedChunk
from parallel_mcmc.store.recorder import OnDisk


class StoredSamples(Samples):
    """The draws of a checkpoint: each field is read as a whole when it is first asked for."""

    _recorder: OnDisk

    @classmethod
    def of(cls, recorder: OnDisk, stats: ChainStats, step_size: Any) -> StoredSamples:
        """Return the samples of what a recorder has."""
        self = object.__new__(cls)
        # The dataclass is frozen, and its fields for the draws stay unset.
        self.__dict__.update(
            _recorder=recorder,
            stats=stats,
            final_state=recorder.state(recorder.manifest.segments),
            step_size=step_size,
            sampling_time=recorder.manifest.seconds,
        )
        return self

    @cached_property
    def position(self) -> PyTree:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Positions; leaves have shape ``(num_chains, num_samples, ...)``."""
        return self._read(self._recorder.names.position)

    @cached_property
    def info(self) -> PyTree:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Information about every transition, leaves ``(num_chains, num_samples, ...)``."""
        return self._read(self._recorder.names.info)

    @cached_property
    def logdensity(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Log density of every draw; None where the kernel does not know it."""
        return self._read(self._recorder.names.logdensity)

    def _read(self, names: PyTree) -> PyTree:
        try:
            return self._recorder.read(names)
        except DamagedChunk as damage:
            raise OSError(
                f"the checkpoint is damaged: {damage}. "
                f"pmc.resume({str(self._recorder.folder)!r}, kernel) draws again what is lost"
            ) from damage

    def __repr__(self) -> str:
        run = self._recorder.manifest
        return (
            f"<{run.drawn} of {run.num_samples} draws of {run.num_chains} chains in "
            f"{str(self._recorder.folder)!r}>"
        )
