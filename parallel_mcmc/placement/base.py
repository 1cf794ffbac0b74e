"""What a placement is, and the one that is the default: JAX's default device."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Chain, Runner, is_one_by_one, run_chains

MOST_GROUPS = 16
"""Groups of chains that are drawn and stored apart."""


class Placement(Protocol):
    """Where the chains of a run are drawn."""

    @property
    def blocks(self) -> int:
        """Devices that share the steps of one chain."""
        ...

    def adapt(self, runner: Runner) -> Runner:
        """Return a runner as it runs here."""
        ...

    def segment(self, runner: Runner, length: int) -> int:
        """Return the draws of a segment that is to have ``length``, or a few more."""
        ...

    def enter(self, tree: PyTree) -> PyTree:
        """Place what all devices need: a kernel, or keys."""
        ...

    def enter_states(self, states: PyTree) -> PyTree:
        """Place the states of the chains, leaves ``(num_chains, ...)``."""
        ...

    def run(
        self, runner: Runner, kernel: Kernel, states: PyTree, keys: jax.Array
    ) -> tuple[Chain, PyTree]:
        """Draw a segment, with keys ``(num_chains, length)``; also return the states after it.

        Traced: part of a compiled call.
        """
        ...

    def fetch(self, chunk: Chain) -> Chain:
        """Copy a segment to the host: leaves ``(num_chains, length, ...)``."""
        ...

    def settings(self) -> dict[str, str]:
        """Return what draws depend on up to rounding, in words."""
        ...

    def by_process(self) -> Placement:
        """Return a placement of which each process fetches the chains it is to keep."""
        ...

    def groups(self, runner: Runner, num_chains: int) -> tuple[slice, ...]:
        """Return which chains this process fetches, by those that are drawn in one call.

        The groups are of one size and follow each other.
        """
        ...


@dataclasses.dataclass(frozen=True)
class OnOneDevice:
    """All chains on JAX's default device."""

    blocks: int = 1

    def adapt(self, runner: Runner) -> Runner:
        """Return the runner itself."""
        return runner

    def segment(self, runner: Runner, length: int) -> int:
        """Return ``length``."""
        return length

    def enter(self, tree: PyTree) -> PyTree:
        """Return the tree itself."""
        return tree

    def enter_states(self, states: PyTree) -> PyTree:
        """Return the states themselves."""
        return states

    def run(
        self, runner: Runner, kernel: Kernel, states: PyTree, keys: jax.Array
    ) -> tuple[Chain, PyTree]:
        """Draw the chains."""
        chunk = run_chains(runner, kernel, states, keys)
        return chunk, jax.tree.map(lambda leaf: leaf[:, -1], chunk.states)

    def fetch(self, chunk: Chain) -> Chain:
        """Copy a segment to the host."""
        return jax.device_get(chunk)

    def settings(self) -> dict[str, str]:
        """Return nothing: it is the usual place."""
        return {}

    def by_process(self) -> OnOneDevice:
        """Return itself: it knows no other process."""
        return self

    def groups(self, runner: Runner, num_chains: int) -> tuple[slice, ...]:
        """Return each chain by itself where nothing is lost by that, else all in one group.

        Many chains are in groups of a few: every group is written apart.
        """
        if not is_one_by_one(runner) or jax.process_count() > 1:
            return (slice(0, num_chains),)
        size = next(
            size
            for size in range(-(-num_chains // MOST_GROUPS), num_chains + 1)
            if num_chains % size == 0
        )
        return tuple(slice(first, first + size) for first in range(0, num_chains, size))


ON_ONE_DEVICE = OnOneDevice()
