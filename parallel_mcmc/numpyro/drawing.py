"""The chains of a run of NumPyro's ``MCMC``, by the driver."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from parallel_mcmc._tree import at
from parallel_mcmc.choice.auto import choose
from parallel_mcmc.kernels.start import initial_states
from parallel_mcmc.numpyro.history import History, differ, transition_keys
from parallel_mcmc.numpyro.sampler import Sampler
from parallel_mcmc.numpyro.state import SamplerState
from parallel_mcmc.sampling import Samples, run_chains
from parallel_mcmc.solver import Newton, Shooting


def draw_chains(
    sampler: Sampler,
    logdensity: Partial,
    before: SamplerState,
    num_samples: int,
    *,
    solver: str | Newton | Shooting,
    window: int | None,
    progress_bar: bool,
    progress_rate: int | None,
) -> History:
    """Draw the chains that follow the states ``before``, of several chains.

    They run together, unless NumPyro's loop has tuned every chain on its own.
    """
    keys = transition_keys(before, num_samples)

    def draw(chains: slice) -> tuple[Any, Samples]:
        kernel = sampler.build(logdensity, before.adapt_state.chain(chains.start))
        positions = jax.tree.map(lambda leaf: leaf[chains], before.z)
        count = chains.stop - chains.start
        if count == 1:
            positions = at(positions, 0)
        states = initial_states(kernel, positions, count)
        runner, choice = choose(solver, window, kernel, states, keys[chains])
        progress = {"progress_bar": progress_bar, "progress_rate": progress_rate}
        samples = run_chains(runner, kernel, states, keys[chains], **progress)
        return kernel, samples.chosen(choice)

    num_chains = len(keys)
    if differ(before.adapt_state):
        parts = [draw(slice(chain, chain + 1)) for chain in range(num_chains)]
        kernel, samples = parts[0][0], _joined([samples for _, samples in parts])
    else:
        kernel, samples = draw(slice(0, num_chains))
    return History(samples, kernel, keys, before, sampler.energy_of)


def _joined(parts: Sequence[Samples]) -> Samples:
    """Return the samples of single chains as those of all."""

    def fields(part: Samples) -> dict[str, Any]:
        return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}

    joined = jax.tree.map(
        lambda *leaves: np.concatenate(leaves),
        *(fields(part.chosen(None)) | {"sampling_time": None} for part in parts),
    )
    total = sum(part.sampling_time or 0 for part in parts)
    return Samples(**joined | {"sampling_time": total}).chosen(parts[0].stats.choice)
