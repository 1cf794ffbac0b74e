"""Where the driver puts the segments of a run as they are finished."""

from __future__ import annotations

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
        self._segments: list[tuple[Draws, ChainStats, PyTree]] = []

    @property
    def drawn(self) -> int:
        """Draws of every chain that are kept."""
        return sum(jax.tree.leaves(draws)[0].shape[1] for draws, _, _ in self._segments)

    @property
    def stats(self) -> list[ChainStats]:
        """How every segment was solved."""
        return [stats for _, stats, _ in self._segments]

    @property
    def final_state(self) -> PyTree:
        """State after the last segment."""
        return self._segments[-1][2]

    def record(self, segment: Chain) -> None:
        """Keep a segment."""
        # In one step: an interrupt comes before it or after it.
        self._segments.append((draws_of(segment), segment.stats, last_state(segment.states)))

    def after_interrupt(self) -> str:
        """Say that the draws are returned."""
        return "returning those"

    def draws(self) -> Draws:
        """Return the draws of all segments."""
        parts = [draws for draws, _, _ in self._segments]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)
