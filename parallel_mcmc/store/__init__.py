"""Runs that are written to disk as they are drawn, and go on after an interruption.

A checkpoint is a folder: a Zarr group (format 3) with the draws, and ``manifest.json``, which
alone says how many of them are complete. Zarr is loaded only when a checkpoint is used.
"""

from parallel_mcmc.store.errors import CheckpointDamageWarning, CheckpointMismatchError
from parallel_mcmc.store.opening import open_draws
from parallel_mcmc.store.run import resume

__all__ = ["CheckpointDamageWarning", "CheckpointMismatchError", "open_draws", "resume"]
