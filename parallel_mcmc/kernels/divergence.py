"""Divergences, and draws that are not finite: what goes wrong along a chain, counted."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import numpy as np

from parallel_mcmc._tree import PyTree
from parallel_mcmc.solver.chart import is_real


class DivergenceWarning(UserWarning):
    """Transitions diverged: the draws may miss a part of the posterior."""


class NonFiniteWarning(UserWarning):
    """Draws are not finite numbers."""


def divergent(info: Any) -> np.ndarray:
    """Return which transitions diverged; all zero where the kernel knows no such thing.

    Parameters
    ----------
    info
        Information about transitions, all leaves of one shape. Of a cycle of kernels a transition
        has diverged where one of them has.

    Returns
    -------
    numpy.ndarray
        Booleans of that shape, or a single one.
    """
    if hasattr(info, "is_divergent"):
        return np.asarray(info.is_divergent)
    if hasattr(info, "nonans"):
        return ~np.asarray(info.nonans)
    parts = [divergent(part) for part in getattr(info, "infos", ())]
    return np.any(parts, axis=0) if parts else np.zeros((), bool)


@dataclasses.dataclass
class Failures:
    """Counts over the segments of a run."""

    transitions: int = 0
    divergent: int = 0
    nonfinite: int = 0

    def add(self, position: PyTree, info: PyTree) -> None:
        """Count those of a segment, leaves ``(num_chains, num_draws, ...)``."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(position)]
        shape = leaves[0].shape[:2]
        finite = np.ones(shape, bool)
        for leaf in leaves:
            if is_real(leaf):
                finite &= np.isfinite(leaf).reshape(*shape, -1).all(axis=-1)
        self.transitions += finite.size
        self.divergent += int(np.sum(divergent(info)))
        self.nonfinite += int(np.sum(~finite))

    def warn(self) -> None:
        """Warn of what was counted, as Stan does after sampling."""
        total = self.transitions
        if self.divergent:
            warnings.warn(
                f"{self.divergent} of {total} transitions diverged ({self.divergent / total:.2%}): "
                "their energy was off by more than 1000, or not a number. The draws may miss where "
                "the posterior is narrow. Try a smaller step size, a higher target of the "
                "acceptance rate, or another parametrisation",
                DivergenceWarning,
                stacklevel=4,
            )
        if self.nonfinite:
            warnings.warn(
                f"{self.nonfinite} of {total} draws are not finite: an update of the kernel gave "
                "infinity or no number, and what follows it is lost",
                NonFiniteWarning,
                stacklevel=4,
            )
