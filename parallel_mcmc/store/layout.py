"""Which arrays a run has, and which leaf of its results each of them is."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from parallel_mcmc._tree import PyTree, dotted_name, variable_names
from parallel_mcmc.kernels.chain import Chain, ChainStats
from parallel_mcmc.recording import Draws, draws_of, last_state
from parallel_mcmc.store.arrays import Spec


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names of arrays in place of the leaves, and what these arrays are."""

    draws: Draws
    stats: ChainStats
    state: PyTree
    specs: dict[str, Spec]

    def of_chains(self, count: int) -> Layout:
        """Return the layout of as many chains."""

        def spec(old: Spec) -> Spec:
            axis = old.dims.index("chain")
            return old._replace(shape=(*old.shape[:axis], count, *old.shape[axis + 1 :]))

        specs = {name: spec(old) for name, old in self.specs.items()}
        return dataclasses.replace(self, specs=specs)

    def of_segment(self, segment: Chain) -> dict[str, np.ndarray]:
        """Return what is written of a segment, by name."""
        stats = jax.tree.map(lambda leaf: leaf[None], segment.stats)
        return _named(self.draws, draws_of(segment)) | _named(self.stats, stats)

    def of_state(self, state: PyTree) -> dict[str, np.ndarray]:
        """Return what is written of the state between two segments, by name."""
        return _named(self.state, jax.tree.map(lambda leaf: np.asarray(leaf)[None], state))


def layout(segment: Chain, num_samples: int) -> Layout:
    """Return the layout of a run with segments like this one.

    Parameters
    ----------
    segment
        A segment, or its ``jax.ShapeDtypeStruct``.
    num_samples
        Draws of every chain in the whole run.
    """
    num_chains, length = jax.tree.leaves(segment.states)[0].shape[:2]
    segments = -(-num_samples // length)
    specs: dict[str, Spec] = {}

    def add(name: str, shape: tuple, dtype: Any, axis: int, length: int, *dims: str) -> str:
        if name in specs:
            raise ValueError(
                f"a checkpoint needs a name of its own for every array, got {name!r} twice"
            )
        variable = name.rpartition("/")[2]
        more = [f"{variable}_dim_{i}" for i in range(len(shape) - len(dims))]
        specs[name] = Spec(shape, np.dtype(dtype), axis, length, (*dims, *more))
        return name

    def of_draws(name: str, leaf: Any) -> str:
        shape = (num_chains, num_samples, *leaf.shape[2:])
        return add(name, shape, leaf.dtype, 1, length, "chain", "draw")

    def of_stats(name: str, leaf: Any) -> str:
        return add(name, (segments, *leaf.shape), leaf.dtype, 0, 1, "segment", "chain")

    def of_states(name: str, leaf: Any) -> str:
        return add(name, (segments + 1, *leaf.shape), leaf.dtype, 0, 1, "segment", "chain")

    draws = draws_of(segment)
    names = iter(variable_names(draws.position))
    return Layout(
        Draws(
            jax.tree.map(lambda leaf: of_draws(f"posterior/{next(names)}", leaf), draws.position),
            None if draws.logdensity is None else of_draws("logdensity", draws.logdensity),
            _by_path(of_draws, "info", draws.info),
        ),
        _by_path(of_stats, "stats", segment.stats),
        _by_path(of_states, "state", jax.eval_shape(last_state, segment.states)),
        specs,
    )


def _by_path(add: Any, group: str, tree: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: add(f"{group}/{dotted_name(path) or 'value'}", leaf), tree
    )


def _named(names: PyTree, values: PyTree) -> dict[str, np.ndarray]:
    return dict(zip(jax.tree.leaves(names), jax.tree.leaves(values), strict=True))
