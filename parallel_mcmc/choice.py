"""How chains are run: as asked for, or in the way that is faster for the kernel on this device."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_positive_int
from parallel_mcmc._tree import PyTree, at, repeated
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Chain, Parallel, Sequential
from parallel_mcmc.solver import Newton

CPU_WINDOW = 32
ACCELERATOR_WINDOW = 4096

SMALL_TRAFFIC = 16e6
"""Bytes that one evaluation of a step moves: below it a CPU has them in its caches, and a batch
of steps is not cheap enough to pay for several evaluations a draw."""

LEAST_GAIN = 1.1
"""How much faster the parallel solver must be to be chosen."""

TYPICAL_EVALUATIONS = 3.0
"""Evaluations of the step for each draw, where the run is too short to measure them."""

TIMED_STEPS = 4
"""Steps of the plain loop that are timed."""

TRIAL_WINDOWS = 2
"""Windows that the trial of the parallel solver draws."""

TRIAL_SHARE = 0.05
"""Largest share of a run's draws that a trial may draw."""

REMEMBERED = 64
"""Choices that are kept for further calls with the same kernel and shapes."""


class Choice(NamedTuple):
    """How chains were run, and why."""

    solver: str
    """``"parallel"`` or ``"sequential"``."""
    window: int | None
    """Steps solved for together; None for the plain loop."""
    reason: str
    """In one sentence."""
    sequential_seconds: float | None = None
    """Time of a draw by the plain loop, if it was measured."""
    parallel_seconds: float | None = None
    """Time of a draw by the parallel solver, if it was measured or estimated."""


_remembered: OrderedDict[Hashable, Choice] = OrderedDict()


def choose_runner(
    solver: str | Newton, window: int | None, num_samples: int, blocks: int = 1
) -> Parallel | Sequential:
    """Return how chains are run for the arguments of :func:`parallel_mcmc.sample`.

    Nothing is measured: ``"auto"`` is the parallel solver on an accelerator and where ``blocks``
    devices share the steps of a chain, else the plain loop.

    Raises
    ------
    ValueError
        If ``solver`` or ``window`` is not one of the accepted values.
    """
    window = _window(window, num_samples, blocks)
    if isinstance(solver, Newton):
        return Parallel(solver, window)
    if solver == "auto":
        solver = "sequential" if _on_cpu() and blocks == 1 else "parallel"
    if solver == "parallel":
        return Parallel(None, window)
    if solver == "sequential":
        return Sequential()
    raise ValueError(
        f'solver must be "auto", "parallel", "sequential" or a pmc.Newton method, got {solver!r}'
    )


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _window(window: int | None, num_samples: int, blocks: int) -> int:
    if window is None:
        window = blocks * (CPU_WINDOW if _on_cpu() else ACCELERATOR_WINDOW)
    return min(require_positive_int("window", window), num_samples)


def choose(
    solver: str | Newton,
    window: int | None,
    kernel: Kernel,
    states: PyTree,
    keys: jax.Array,
    blocks: int = 1,
) -> tuple[Parallel | Sequential, Choice]:
    """Return how chains are run, and why; ``"auto"`` on a CPU looks at what a step costs.

    A step that moves little memory is left to the plain loop, and nothing is timed. Else one step
    and a batch of a window's steps are timed, and, where the run is long enough, the parallel
    solver on two windows. The outcome is remembered for the kernel's functions and shapes, so that
    a process measures once.

    Parameters
    ----------
    solver, window
        Arguments of :func:`parallel_mcmc.sample`.
    kernel
        A transition kernel.
    states
        States of the kernel, leaves ``(num_chains, ...)``.
    keys
        Of every draw, shape ``(num_chains, num_samples)``.
    blocks
        Number of devices that share the steps of a chain.

    Raises
    ------
    ValueError
        If ``solver`` or ``window`` is not one of the accepted values.
    """
    num_chains, num_samples = keys.shape[:2]
    runner = choose_runner(solver, window, num_samples, blocks)
    if not (isinstance(solver, str) and solver == "auto"):
        return runner, _choice(runner, "it was asked for")
    if blocks > 1:
        return runner, _choice(runner, f"{blocks} devices share the steps of a chain")
    if isinstance(runner, Parallel):
        return runner, _choice(runner, "an accelerator computes a batch of steps at once")
    if jax.process_count() > 1:
        return runner, _choice(runner, "several processes must choose alike, so none measures")
    parallel = Parallel(None, _window(window, num_samples, blocks))
    question = _signature(parallel.window, kernel, states, keys)
    choice = _remembered.pop(question, None)
    if choice is None:
        choice = _measured(parallel, num_chains, kernel, at(states, 0), keys[0])
    _remembered[question] = choice
    if len(_remembered) > REMEMBERED:
        _remembered.popitem(last=False)
    return (parallel if choice.solver == "parallel" else Sequential()), choice


def _measured(
    parallel: Parallel, num_chains: int, kernel: Kernel, state: PyTree, keys: jax.Array
) -> Choice:
    traffic = step_traffic(kernel, state, keys[0])
    if traffic < SMALL_TRAFFIC:
        return _choice(
            Sequential(),
            f"a step moves {traffic / 1e6:.2g} MB, which a CPU has in its caches "
            f"(the parallel solver is tried from {SMALL_TRAFFIC / 1e6:.0f} MB on)",
        )
    window = parallel.window
    one = timed(run_chain, Sequential(), kernel, state, keys[:TIMED_STEPS])[1]
    one /= len(keys[:TIMED_STEPS])
    batch = timed(evaluate_batch, kernel, state, keys[:window])[1] / window
    if one < LEAST_GAIN * batch:
        return _choice(Sequential(), "a step in a batch costs as much as one by itself", one, batch)
    trial = TRIAL_WINDOWS * window
    if trial <= TRIAL_SHARE * num_chains * len(keys):
        solved = timed(run_chain, parallel, kernel, state, keys[:trial])[1] / trial
        how = f"as a trial of {trial} draws showed"
    else:
        solved = TYPICAL_EVALUATIONS * batch
        how = f"if it takes {TYPICAL_EVALUATIONS:.0f} evaluations of the step, too many to try"
    pays = solved * LEAST_GAIN < one
    return _choice(
        parallel if pays else Sequential(),
        f"a draw takes {one * 1e3:.2g} ms by the plain loop and {solved * 1e3:.2g} ms in parallel, "
        f"{how}",
        one,
        solved,
    )


def step_traffic(kernel: Kernel, state: PyTree, key: jax.Array) -> float:
    """Return the bytes that one step moves, as XLA estimates them before it optimises.

    A loop within the step, such as that of the leapfrog, counts with one round.
    """
    cost = _step.lower(kernel, state, key).cost_analysis()
    return float((cost or {}).get("bytes accessed", 0.0))


def timed(run: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """Return the result of a call, and its time once compiled, in seconds: the shorter of two."""
    result = jax.block_until_ready(run(*args))
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        jax.block_until_ready(run(*args))
        times.append(time.perf_counter() - begin)
    return result, min(times)


@jax.jit
def run_chain(
    runner: Parallel | Sequential, kernel: Kernel, state: PyTree, keys: jax.Array
) -> Chain:
    """Return the draws of one chain."""
    return runner.run(kernel, state, keys)


@jax.jit
def evaluate_batch(kernel: Kernel, state: PyTree, keys: jax.Array) -> jax.Array:
    """Evaluate one step for each of ``keys``, as an iteration of the parallel solver does."""
    bound = kernel.bind(state.position)
    states = repeated(bound.enter(state), len(keys))
    x = jax.vmap(bound.recurrence.chart.coordinates)(states)
    return bound.recurrence.lifted_steps(x, states, jax.vmap(bound.draw)(keys))[0]


@jax.jit
def _step(kernel: Kernel, state: PyTree, key: jax.Array) -> PyTree:
    bound = kernel.bind(state.position)
    return bound.recurrence.step(bound.enter(state), bound.draw(key))[0]


def _choice(runner: Parallel | Sequential, reason: str, *times: float) -> Choice:
    if isinstance(runner, Parallel):
        return Choice("parallel", runner.window, reason, *times)
    return Choice("sequential", None, reason, *times)


def _signature(window: int, *problem: Any) -> Hashable:
    leaves, structure = jax.tree.flatten(problem)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return window, structure, shapes
