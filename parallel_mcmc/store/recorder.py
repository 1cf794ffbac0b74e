"""Writes the segments of a run to its checkpoint as they are finished."""

from __future__ import annotations

import dataclasses
import time
import warnings
from pathlib import Path

import jax

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.chain import Chain, ChainStats
from parallel_mcmc.recording import Draws, last_state
from parallel_mcmc.store.arrays import Arrays
from parallel_mcmc.store.errors import CheckpointDamageWarning, DamagedChunk
from parallel_mcmc.store.layout import Layout
from parallel_mcmc.store.manifest import Manifest


class OnDisk:
    """Keeps the draws on disk.

    Order makes it safe: first the chunks of a segment, then the manifest that counts it. Until the
    manifest is replaced, the run is as it was before the segment.
    """

    def __init__(self, folder: Path, manifest: Manifest, layout: Layout, arrays: Arrays) -> None:
        self.folder = folder
        self.manifest = manifest
        self._layout = layout
        self._arrays = arrays
        self._begin = time.perf_counter()
        self._again = 0

    @property
    def drawn(self) -> int:
        """Draws of every chain that are complete, but for those that are made again."""
        segments = self.manifest.segments - self._again
        return min(segments * self.manifest.segment_length, self.manifest.num_samples)

    @property
    def path(self) -> Path:
        """Folder of the whole run."""
        return self.folder if self.manifest.shards == 1 else self.folder.parent

    def draw_again(self, segments: int) -> None:
        """Go on from before the last ``segments``, which another process does not have yet.

        They are kept: the draws are the same again.
        """
        self._again = segments

    @property
    def names(self) -> Draws:
        """Names of the arrays of the draws, for :meth:`read`."""
        return self._layout.draws

    def record(self, segment: Chain) -> None:
        """Write a segment, and the state after it."""
        if self._again:
            self._again -= 1
            return
        done = self.manifest.segments
        now = time.perf_counter()
        after = dataclasses.replace(
            self.manifest, segments=done + 1, seconds=self.manifest.seconds + now - self._begin
        )
        try:
            self._arrays.write(self._layout.of_segment(segment), done)
            self._arrays.write(self._layout.of_state(last_state(segment.states)), done + 1)
            after.write(self.folder)
        except BaseException as error:
            # The manifest tells whether the segment counts: an interrupt may come just after it.
            self.manifest = Manifest.read(self.folder)
            if not isinstance(error, OSError):
                raise
            error.add_note(
                f"The checkpoint {self.folder} holds the first {self.manifest.drawn} of "
                f"{self.manifest.num_samples} draws. {self._remedy()} draws the rest, once it can "
                "be written"
            )
            raise
        self.manifest, self._begin = after, now

    def beside(self, folder: Path) -> OnDisk:
        """Return the shard of the run that is in ``folder``."""
        manifest = Manifest.read(folder)
        layout = self._layout.of_chains(manifest.num_chains)
        return OnDisk(folder, manifest, layout, Arrays.open(folder, layout.specs))

    def after_interrupt(self) -> str:
        """Say how to go on."""
        return f"returning those. {self._remedy()} draws the rest"

    def _remedy(self) -> str:
        return f"pmc.resume({str(self.path)!r}, kernel)"

    def state(self, segments: int) -> PyTree:
        """Return the state after a number of segments, leaves ``(num_chains, ...)``.

        Raises
        ------
        DamagedChunk
            If it cannot be read.
        """
        return jax.tree.map(
            lambda name: self._arrays.read_chunk(name, segments)[0], self._layout.state
        )

    def stats(self, count: int) -> list[ChainStats]:
        """Return how each of the first ``count`` segments was solved."""
        whole = jax.tree.map(lambda name: self._arrays.read(name, count), self._layout.stats)
        return [jax.tree.map(lambda leaf, n=n: leaf[n], whole) for n in range(count)]

    def read(self, names: PyTree, count: int) -> PyTree:
        """Return the first ``count`` draws of the arrays named in a tree."""
        return jax.tree.map(lambda name: self._arrays.read(name, count), names)

    def write_start(self, states: PyTree) -> None:
        """Write the states that the chains start from."""
        self._arrays.write(self._layout.of_state(states), 0)

    def keep_whole(self) -> None:
        """Read all that is complete, and count it only up to the first damage.

        Warns
        -----
        CheckpointDamageWarning
            If a chunk is damaged; it names it, and tells from where on the draws are made again.
        """
        for segment in range(self.manifest.segments):
            try:
                self._verify(segment)
            except DamagedChunk as damage:
                shorter = dataclasses.replace(self.manifest, segments=segment)
                warnings.warn(
                    f"the checkpoint is damaged: {damage}. Of {self.drawn} draws the first "
                    f"{shorter.drawn} are whole; the rest are drawn again",
                    CheckpointDamageWarning,
                    stacklevel=4,
                )
                self.manifest = shorter
                shorter.write(self.folder)
                break

    def _verify(self, segment: int) -> None:
        for name in jax.tree.leaves((self._layout.draws, self._layout.stats)):
            self._arrays.read_chunk(name, segment)
        self.state(segment + 1)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        manifest.write(self.folder)
        self.manifest = manifest
