"""What can be wrong with a checkpoint."""

from __future__ import annotations


class CheckpointMismatchError(ValueError):
    """A checkpoint holds the run of another kernel, solver, precision, package or device."""


class CheckpointDamageWarning(UserWarning):
    """A part of a checkpoint was damaged; what follows it is drawn again."""


class DamagedChunk(Exception):
    """A chunk is missing, or its checksum is not that of its content."""
