"""The segments of a run: each one compiled call, kept before the next begins."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from parallel_mcmc._errors import warn_fallback
from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Chain, ChainStats, Parallel, Runner, Sequential
from parallel_mcmc.kernels.divergence import Failures
from parallel_mcmc.placement.base import ON_ONE_DEVICE, Placement
from parallel_mcmc.recording import Recorder, joined
from parallel_mcmc.solver.timeaxis import ONE_DEVICE

SEGMENTS = 20
"""Segments of a run, where the window allows: how often the progress bar moves."""
SHORTEST_SEGMENT = 50
"""Fewest draws of a segment that moves a progress bar."""
SHORTEST_QUIET_SEGMENT = 2000
"""Fewest draws of another: between two segments, a run of a small model waits for the host."""


class InterruptedWarning(UserWarning):
    """Sampling was interrupted; what had been drawn is returned."""


class Group(NamedTuple):
    """Chains that are drawn in one call, and what keeps them."""

    chains: slice
    """Which of the run's."""
    states: PyTree
    """After the draws that ``recorder`` has, leaves ``(num_chains, ...)``."""
    recorder: Recorder
    """Is given every segment."""


def run_segments(
    runner: Runner,
    kernel: Kernel,
    groups: Sequence[Group],
    keys: jax.Array,
    length: int,
    *,
    placement: Placement = ON_ONE_DEVICE,
    progress_bar: bool = True,
) -> None:
    """Draw what the recorders do not have yet of the chains, in segments.

    The next segment is of the group that has taken the least time: a slow chain does not keep the
    others from being drawn to their end.

    Parameters
    ----------
    runner, kernel
        As :func:`run_chains` has them.
    groups
        As ``placement`` has them, all of one shape.
    keys
        Of every draw of the run, shape ``(num_chains, num_samples)``.
    length
        Draws of a segment.
    placement
        Where the chains are drawn.
    progress_bar
        Whether to show one.
    """
    num_samples = keys.shape[1]
    recorders = [group.recorder for group in groups]
    progress = tqdm(
        total=num_samples * len(groups),
        initial=sum(recorder.drawn for recorder in recorders),
        # One bar for all processes.
        disable=not progress_bar or jax.process_index() > 0,
        unit="draw",
        desc="sample",
    )
    failures = Failures()
    kernel, keys = placement.enter((kernel, keys))
    states = [placement.enter_states(group.states) for group in groups]
    seconds = [0.0] * len(groups)
    is_compiled = False
    try:
        while going := [n for n, one in enumerate(recorders) if one.drawn < num_samples]:
            n = min(going, key=lambda n: (seconds[n], recorders[n].drawn))
            begin = time.perf_counter()
            start = recorders[n].drawn
            count = min(length, num_samples - start)
            # A single group may be of one process among several, which all need all keys.
            own = keys if len(groups) == 1 else keys[groups[n].chains]
            chunk, states[n] = _run_segment(
                runner, kernel, states[n], own, start, length, placement
            )
            segment = _first_draws(placement.fetch(chunk), count)
            recorders[n].record(segment)
            failures.add(segment.states.position, segment.info)
            progress.update(count)
            # The first call may have compiled for all of them.
            seconds[n] += time.perf_counter() - begin if is_compiled else 0.0
            is_compiled = True
    except KeyboardInterrupt:
        drawn = min(recorder.drawn for recorder in recorders)
        if not drawn:
            raise
        warnings.warn(
            f"interrupted after {drawn} of {num_samples} draws; {recorders[0].after_interrupt()}",
            InterruptedWarning,
            stacklevel=3,
        )
    finally:
        progress.close()
    failures.warn()


def abstract_segment(runner: Runner, kernel: Kernel, states: PyTree, keys: jax.Array) -> Chain:
    """Return shapes and dtypes of a segment with these keys, ``(num_chains, length)``."""
    length = keys.shape[1]
    if isinstance(runner, Parallel):
        runner = dataclasses.replace(runner, axis=ONE_DEVICE)
    return _run_segment.eval_shape(runner, kernel, states, keys, 0, length, ON_ONE_DEVICE)[0]


def segment_length(
    runner: Runner,
    num_samples: int,
    progress_rate: int | None,
    shortest: int = SHORTEST_SEGMENT,
) -> int:
    """Return the draws of a segment: ``progress_rate`` or 5 % of all, and at least a window."""
    least = 1 if isinstance(runner, Sequential) else runner.window
    if progress_rate is not None:
        return min(max(least, progress_rate), num_samples)
    segments = max(1, min(SEGMENTS, num_samples // max(least, shortest)))
    return -(-num_samples // segments)


@partial(jax.jit, static_argnums=(5, 6))
def _run_segment(
    runner, kernel, states, keys, start, length, placement: Placement
) -> tuple[Chain, PyTree]:
    """One compiled call: a segment of every chain, and the states after it."""
    # The last segment repeats a key rather than compile for another length.
    index = jnp.minimum(start + jnp.arange(length), keys.shape[1] - 1)
    return placement.run(runner, kernel, states, keys[:, index])


def _first_draws(segment: Chain, count: int) -> Chain:
    """Return the first ``count`` draws of a segment."""
    if count == jax.tree.leaves(segment.states)[0].shape[1]:
        return segment
    return Chain(
        jax.tree.map(lambda leaf: leaf[:, :count], segment.states),
        jax.tree.map(lambda leaf: leaf[:, :count], segment.info),
        segment.stats,
    )


def total_stats(groups: Sequence[Sequence[ChainStats]], num_samples: int) -> ChainStats:
    """Return the statistics of a run; warn of a sequential finish.

    Parameters
    ----------
    groups
        The statistics of every segment, of one group of chains after the other.
    num_samples
        Draws of every chain.
    """
    stats = joined([_over_segments(parts) for parts in groups])
    # Of all chains: the share of the draws that cost time.
    total = num_samples * len(stats.fallback_steps)
    warn_fallback(int(np.sum(stats.fallback_steps)), total, int(np.max(stats.iterations)))
    return stats


def _over_segments(parts: Sequence[ChainStats]) -> ChainStats:
    return ChainStats(
        converged=np.all([p.converged for p in parts], axis=0),
        iterations=np.sum([p.iterations for p in parts], axis=0),
        gradient_evaluations=np.sum([p.gradient_evaluations for p in parts], axis=0),
        residual=np.max([p.residual for p in parts], axis=0),
        fallback_steps=np.sum([p.fallback_steps for p in parts], axis=0),
    )
