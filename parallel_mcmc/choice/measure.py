"""What a step costs on this device, one by one and in a batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

from parallel_mcmc._tree import PyTree, repeated
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Chain, Runner
from parallel_mcmc.rows.arranged import all_rows_at_once

LEAST_GAIN = 1.1
"""How much faster the parallel solver must be to be chosen."""

TRIAL_SHARE = 0.05
"""Largest share of a run's draws that a trial may draw."""


def timed(run: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """Return the result of a call, and its time once compiled, in seconds: the shorter of two."""
    result = jax.block_until_ready(run(*args))
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        jax.block_until_ready(run(*args))
        times.append(time.perf_counter() - begin)
    return result, min(times)


ENOUGH = 0.1
"""Seconds of calls that tell what one takes."""

MOST_CALLS = 5


def timed_apart(run: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """Return the result of a call, and its time in seconds: the shortest of a few.

    It is compiled apart, so that a call that takes long is made only once.
    """
    call = run.lower(*args).compile()  # type: ignore[attr-defined]
    times: list[float] = []
    while not times or (sum(times) < ENOUGH and len(times) < MOST_CALLS):
        begin = time.perf_counter()
        result = jax.block_until_ready(call(*args))
        times.append(time.perf_counter() - begin)
    return result, min(times)


@jax.jit
def run_chain(runner: Runner, kernel: Kernel, state: PyTree, keys: jax.Array) -> Chain:
    """Return the draws of one chain."""
    return runner.run(kernel, state, keys)


@jax.jit
def evaluate_batch(kernel: Kernel, state: PyTree, keys: jax.Array) -> jax.Array:
    """Evaluate one step for each of ``keys``, as an iteration of the parallel solver does."""
    bound = kernel.bind(state.position)
    states = repeated(bound.enter(state), len(keys))
    x = jax.vmap(bound.recurrence.chart.coordinates)(states)
    return bound.recurrence.lifted_steps(x, states, jax.vmap(bound.draw)(keys))[0]


def step_traffic(kernel: Kernel, state: PyTree, key: jax.Array) -> float:
    """Return the bytes that one step moves, as XLA estimates them before it optimises.

    A loop within the step, such as that of the leapfrog, counts with one round, and blocks of rows
    with all of them.
    """
    with all_rows_at_once():
        cost = _step.lower(kernel, state, key).cost_analysis()
    return float((cost or {}).get("bytes accessed", 0.0))


@jax.jit
def _step(kernel: Kernel, state: PyTree, key: jax.Array) -> PyTree:
    bound = kernel.bind(state.position)
    return bound.recurrence.step(bound.enter(state), bound.draw(key))[0]
