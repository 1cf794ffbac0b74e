"""The faster way on an accelerator, where a batch of steps takes hardly longer than one."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.choice import measure
from parallel_mcmc.choice.measure import LEAST_GAIN, TRIAL_SHARE
from parallel_mcmc.choice.outcome import Choice, choice_of
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Chain, Parallel, Sequential, map_chains
from parallel_mcmc.kernels.whitened import LARGEST_DENSE
from parallel_mcmc.solver import Dense, Newton

METHODS_TRIED = 2

SHORTEST_TRIAL = 32
"""Draws of the shortest trial that tells of longer windows."""

DRAWS_AN_ITERATION = 3
"""A trial that advances by less does not tell whether a longer window takes more iterations."""

FEW_ITERATIONS = 16
"""A method that takes no more is taken, and no other one is tried."""

TIMED_STEPS = 16
"""Steps of the plain loop that are timed."""

MEMORY_SHARE = 0.5
"""Largest share of the device's memory for what a window computes."""


def faster_on_accelerator(
    parallel: Parallel, kernel: Kernel, states: PyTree, keys: jax.Array
) -> tuple[Parallel | Sequential, Choice]:
    """Try the parallel solver on the first draws of all chains, and time some steps of the loop.

    Tried are the kernel's own model of the Jacobian and, unless that does with a few iterations,
    the whole one. A trial that fails costs as much as the loop over its draws, so that all of them
    cost at most 5 % of a run by the loop. How much longer than the trial the full window takes is
    the ratio of two batches of steps. A window that would not fit the memory is shortened.
    """
    num_chains, num_samples = keys.shape[:2]
    draws = min(parallel.window, int(TRIAL_SHARE * num_samples / METHODS_TRIED))
    if draws < SHORTEST_TRIAL:
        reason = "an accelerator computes a batch of steps at once, and the run is short"
        return choice_of(parallel, reason)
    loop = measure.timed(run_all, Sequential(), kernel, states, keys[:, :TIMED_STEPS])[1]
    loop /= TIMED_STEPS * num_chains
    window = _fitting(parallel.window, draws, kernel, states, keys)
    sizes = [length * num_chains for length in (draws, window)]
    short, long = (
        measure.timed(measure.evaluate_batch, kernel, at(states, 0), _some(keys, size))[1]
        for size in sizes
    )
    tried = []
    for method in _methods(kernel, states):
        trial = Parallel(method, draws, None, draws // DRAWS_AN_ITERATION)
        arguments = (trial, kernel, states, keys[:, :draws])
        stats = run_all(*arguments).stats
        if int(stats.fallback_steps.sum()) > 0:
            continue
        seconds = measure.timed(run_all, *arguments)[1] * max(1.0, long / short)
        tried.append((seconds / sizes[1], method))
        if int(stats.iterations.max()) <= FEW_ITERATIONS:
            break
    if not tried:
        reason = f"in {draws} draws the parallel solver found too few states an iteration"
        return choice_of(Sequential(), reason, loop)
    solved, method = min(tried, key=lambda pair: pair[0])
    return choice_of(
        Parallel(method, window) if solved * LEAST_GAIN < loop else Sequential(),
        f"a draw takes {loop * 1e6:.2g} us by the plain loop and {solved * 1e6:.2g} us in "
        f"parallel, by what a trial of {draws} draws took",
        loop,
        solved,
    )


@jax.jit
def run_all(
    runner: Parallel | Sequential, kernel: Kernel, states: PyTree, keys: jax.Array
) -> Chain:
    """Return the draws of all chains."""
    return map_chains(runner, lambda chain: runner.run(kernel, *chain), (states, keys))


def _methods(kernel: Kernel, states: PyTree) -> list[Newton | None]:
    state = at(states, 0)
    bound = kernel.bind(state.position)
    dim = bound.recurrence.chart.coordinates(bound.enter(state)).size
    whole = isinstance(bound.method.jacobian, Dense)
    return [None] if whole or dim > LARGEST_DENSE else [None, Newton()]


def _some(keys: jax.Array, size: int) -> jax.Array:
    """Return keys for a batch of steps: which ones they are does not matter."""
    flat = keys.reshape(-1, *keys.shape[2:])
    return flat[jnp.arange(size) % len(flat)]


def _fitting(window: int, draws: int, kernel: Kernel, states: PyTree, keys: jax.Array) -> int:
    """Return the window, halved until what it computes fits the memory of the device."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit is None:
        return window
    runner = Parallel(None, draws, None, draws // DRAWS_AN_ITERATION)
    program = run_all.lower(runner, kernel, states, keys[:, :draws]).compile()
    analysis = program.memory_analysis()
    each = 0 if analysis is None else analysis.temp_size_in_bytes / draws
    while window > draws and window * each > MEMORY_SHARE * limit:
        window = max(draws, window // 2)
    return window
