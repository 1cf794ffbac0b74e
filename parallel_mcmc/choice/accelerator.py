"""The faster way on an accelerator, where a batch of steps takes hardly longer than one."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.choice import measure
from parallel_mcmc.choice.measure import LEAST_GAIN, TRIAL_SHARE
from parallel_mcmc.choice.outcome import Choice, choice_of
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Parallel, Runner, Sequential, run_chains
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

WORK_SHARE = 2.0
"""How much longer the steps of an iteration take than what it takes at any length, where a longer
window is not worth its poorer guesses."""

MEMORY_SHARE = 0.5
"""Largest share of the device's memory for what a window computes."""


run_all = jax.jit(run_chains)


def faster_on_accelerator(
    parallel: Parallel, kernel: Kernel, states: PyTree, keys: jax.Array
) -> tuple[Runner, Choice]:
    """Try the parallel solver on the first draws of all chains, and time some steps of the loop.

    Tried are the kernel's own model of the Jacobian and, unless that does with a few iterations,
    the whole one. A trial that fails costs as much as the loop over its draws, so that all of them
    cost at most 5 % of a run by the loop. What a step adds to an iteration is seen from two batches
    of steps, and with it what a longer window takes. The window is halved where it would not fit
    the memory, or half of it keeps the device busy.
    """
    num_chains, num_samples = keys.shape[:2]
    draws = min(parallel.window, int(TRIAL_SHARE * num_samples / METHODS_TRIED))
    if draws < SHORTEST_TRIAL:
        reason = "an accelerator computes a batch of steps at once, and the run is short"
        return choice_of(parallel, reason)
    loop = measure.timed(run_all, Sequential(), kernel, states, keys[:, :TIMED_STEPS])[1]
    loop /= TIMED_STEPS * num_chains
    window = _fitting(parallel.window, draws, kernel, states, keys)
    step = _step_seconds(draws * num_chains, window * num_chains, kernel, states, keys)
    tried = []
    for method, evaluations in _methods(kernel, states).items():
        arguments = (_trial(method, draws), kernel, states, keys[:, :draws])
        stats = run_all(*arguments).stats
        if int(stats.fallback_steps.sum()) > 0:
            continue
        iterations = int(stats.iterations.max())
        work = step * evaluations * num_chains
        fixed = max(0.0, measure.timed(run_all, *arguments)[1] / iterations - work * draws)
        length = _busy(window, draws, fixed, work)
        seconds = iterations * (fixed / length + work) / num_chains
        tried.append((seconds, Parallel(method, length)))
        if iterations <= FEW_ITERATIONS:
            break
    if not tried:
        reason = f"in {draws} draws the parallel solver found too few states an iteration"
        return choice_of(Sequential(), reason, loop)
    solved, runner = min(tried, key=lambda pair: pair[0])
    return choice_of(
        runner if solved * LEAST_GAIN < loop else Sequential(),
        f"a draw takes {loop * 1e6:.2g} us by the plain loop and {solved * 1e6:.2g} us in "
        f"parallel, by what a trial of {draws} draws took",
        loop,
        solved,
    )


def _trial(method: Newton | None, draws: int) -> Parallel:
    return Parallel(method, draws, None, draws // DRAWS_AN_ITERATION)


def _methods(kernel: Kernel, states: PyTree) -> dict[Newton | None, int]:
    """Return the methods to try, with the evaluations of a step in an iteration of each."""
    state = at(states, 0)
    bound = kernel.bind(state.position)
    dim = bound.recurrence.chart.coordinates(bound.enter(state)).size
    methods: dict[Newton | None, int] = {None: bound.method.jacobian.evaluations(dim)}
    if not isinstance(bound.method.jacobian, Dense) and dim <= LARGEST_DENSE:
        methods[Newton()] = Dense().evaluations(dim)
    return methods


def _step_seconds(short: int, long: int, kernel: Kernel, states: PyTree, keys: jax.Array) -> float:
    """Return what one more step adds to a batch of steps, by batches of two lengths."""
    if long == short:
        return 0.0
    flat = keys.reshape(-1, *keys.shape[2:])
    times = []
    for size in (short, long):
        # Which keys they are does not matter.
        some = flat[jnp.arange(size) % len(flat)]
        times.append(measure.timed(measure.evaluate_batch, kernel, at(states, 0), some)[1])
    return max(0.0, (times[1] - times[0]) / (long - short))


def _busy(window: int, least: int, fixed: float, work: float) -> int:
    """Return the window, halved while a half of it is enough for the device to be busy.

    An iteration takes ``fixed`` seconds, and ``work`` more for every step of the window.
    """
    while window // 2 >= least and work * (window // 2) > WORK_SHARE * fixed:
        window //= 2
    return window


def _fitting(window: int, draws: int, kernel: Kernel, states: PyTree, keys: jax.Array) -> int:
    """Return the window, halved until what it computes fits the memory of the device."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit is None:
        return window
    program = run_all.lower(_trial(None, draws), kernel, states, keys[:, :draws]).compile()
    analysis = program.memory_analysis()
    each = 0 if analysis is None else analysis.temp_size_in_bytes / draws
    while window > draws and window * each > MEMORY_SHARE * limit:
        window = max(draws, window // 2)
    return window
