"""Where the driver puts the segments of a run as they are finished."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.chain import Chain, ChainStats


class Recorder(Protocol):
    """What the driver hands every finished segment to."""

    @property
    def drawn(self) -> int:
        """Draws of every chain that are kept: where the run goes on."""
        ...

    def record(self, segment: Chain) -> None:
        """Keep a segment that follows those before it; its arrays are on the host."""
        ...

    def after_interrupt(self) -> str:
        """Say what became of the draws, and how to go on if one can."""
        ...


def joined(groups: Sequence[PyTree]) -> PyTree:
    """Return the leaves of several groups of chains along the leading axis, that of the chains."""
    if len(groups) == 1:
        return groups[0]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *groups)


class Draws(NamedTuple):
    """Draws of a run, leaves ``(num_chains, drawn, ...)``."""

    position: PyTree
    logdensity: Any
    """None where the kernel does not know it."""
    info: PyTree


def draws_of(segment: Chain) -> Draws:
    """Return what is kept of every draw of a segment."""
    states = segment.states
    return Draws(states.position, getattr(states, "logdensity", None), segment.info)


def last_state(states: PyTree) -> PyTree:
    """Return the state after a segment, leaves ``(num_chains, ...)``."""
    return jax.tree.map(lambda leaf: leaf[:, -1], states)


class InMemory:
    """Keeps the draws as arrays on the host."""

    def __init__(self) -> None:
        self._segments: list[tuple[int, Draws, ChainStats, PyTree]] = []

    @property
    def drawn(self) -> int:
        """Draws of every chain that are kept."""
        return self._segments[-1][0] if self._segments else 0

    @property
    def segments(self) -> int:
        """Segments that are kept."""
        return len(self._segments)

    def stats(self, count: int) -> list[ChainStats]:
        """Return how each of the first ``count`` segments was solved."""
        return [stats for _, _, stats, _ in self._segments[:count]]

    def state(self, segments: int) -> PyTree:
        """Return the state after a number of segments, at least one."""
        return self._segments[segments - 1][3]

    def record(self, segment: Chain) -> None:
        """Keep a segment."""
        drawn = self.drawn + jax.tree.leaves(segment.states)[0].shape[1]
        kept = (drawn, draws_of(segment), segment.stats, last_state(segment.states))
        # In one step: an interrupt comes before it or after it.
        self._segments.append(kept)

    def after_interrupt(self) -> str:
        """Say that the draws are returned."""
        return "returning those"

    def draws(self, count: int) -> list[Draws]:
        """Return the draws of each of the first ``count`` segments."""
        return [draws for _, draws, _, _ in self._segments[:count]]


def all_draws(recorders: Sequence[InMemory], segments: int) -> Draws:
    """Return the first ``segments`` of several groups of chains as one, in their order."""

    def whole(*leaves: np.ndarray) -> np.ndarray:
        # One leaf after the other: never are all of them in memory three times.
        starts = range(0, len(leaves), segments)
        return joined([np.concatenate(leaves[n : n + segments], axis=1) for n in starts])

    return jax.tree.map(whole, *(draws for one in recorders for draws in one.draws(segments)))
