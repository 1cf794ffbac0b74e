"""How soon chains with the same random numbers meet, and what their steps cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._tree import PyTree, at, num_steps, repeated
from parallel_mcmc.kernels.base import BoundKernel, Kernel
from parallel_mcmc.kernels.chain import lane_foresight
from parallel_mcmc.solver.defaults import default_tolerance
from parallel_mcmc.solver.foresight import TRUSTED

IDLE_CALLS = 5
"""Times that a call without a step is timed."""

SIGNIFICANT = 2.0
"""Standard errors below zero from which on an exponent is negative."""


LEAST_AGAIN = 0.5
"""Of the draws that chains need to meet, what the last of all lanes needs however good a model's
guess: it is the one before which a decision was a tie."""


class Coupling(NamedTuple):
    """What a few steps of chains side by side have shown."""

    draws: int | None
    """Draws until they have met; extrapolated where the steps did not do. None where they do not
    clearly approach each other, or not within the run."""
    exponent: float
    """Growth of their distance in one draw, on the log scale: the largest Lyapunov exponent."""
    error: float
    """Standard error of it, from the chains."""
    draws_again: int | None = None
    """Draws of a lane that are made again until it meets its old path; as many as chains need to
    meet, where no more is known of a lane's start than of theirs."""


class StepTime(NamedTuple):
    """What a step takes, as a few calls have shown."""

    seconds: float
    doubt: float
    """Seconds by which that may be off, as far as calls without a step differ."""


def measure_coupling(
    kernel: Kernel, states: PyTree, keys: jax.Array, steps: int, runs: int, total: int
) -> tuple[Coupling, StepTime]:
    """Run chains from around the first of ``states`` with the same random numbers.

    They are run as the plain loop runs them, all of one run side by side, again and again from
    other starts: one program tells how soon chains meet, and what a step of the loop takes.

    Parameters
    ----------
    kernel
        A transition kernel, whose coordinates have a known scale.
    states
        States of the kernel, leaves ``(num_chains, ...)``: as many chains are in a run.
    keys
        Of the draws that the program can make.
    steps
        How many are made.
    runs
        How often; at least twice.
    total
        Draws of the run to come.

    Returns
    -------
    Coupling
        How soon they meet.
    StepTime
        Of a step of all chains of a run.
    """
    count, state = num_steps(states), at(states, 0)
    starts = [starts_near(kernel, state, count, seed) for seed in range(runs)]
    starts = jax.block_until_ready(starts)
    run_of = [partial(side_by_side, kernel, state, start, keys) for start in starts]
    idle = idle_seconds(run_of[0])
    outcomes, times = zip(*(clocked(run, steps) for run in run_of), strict=True)
    paths = np.concatenate([np.asarray(path, float) for path, _ in outcomes], axis=1)[: steps + 1]
    distances = np.abs(paths[:, 1:] - paths[:, :1]).max(axis=-1)
    tolerance = default_tolerance(outcomes[0][0].dtype)
    found = meeting(distances, tolerance, total)
    foresight = lane_foresight(kernel.bind(state.position), at(starts[0], 0), keys)
    if foresight:
        guesses = [np.asarray(guessed(kernel, state, start, keys)[steps - 1]) for start in starts]
        missed = np.abs(np.concatenate(guesses) - paths[steps]).max(axis=-1)
        found = foreseen_from(found, float(np.median(missed)), foresight, tolerance)
    return found, time_of_step(times[1:], steps, idle)


def step_time(
    kernel: Kernel, state: PyTree, keys: jax.Array, steps: int, count: int, repeats: int
) -> StepTime:
    """Return what one step of ``count`` chains side by side takes.

    Parameters
    ----------
    kernel, state
        A transition kernel, and the state that all chains begin at.
    keys
        Of the draws that the program can make.
    steps
        How many are made.
    count
        Number of chains.
    repeats
        How often all are made, after a first step.
    """
    run = _from_one_state(kernel, state, keys, count)
    idle = idle_seconds(run)
    clocked(run, 1)
    return time_of_step([clocked(run, steps)[1] for _ in range(repeats)], steps, idle)


def steady_step_times(
    kernel: Kernel, state: PyTree, sides: Sequence[tuple[int, jax.Array, int]], seconds: float
) -> list[StepTime]:
    """Return what a step of several numbers of chains takes once a machine has settled.

    They are run in turn, and what counts is the median of the later half: on a virtual machine both
    cores are at work, or in each other's way, only after a while.

    Parameters
    ----------
    kernel, state
        A transition kernel, and the state that all chains begin at.
    sides
        For each of them the number of chains, the keys of the draws that the program can make, and
        how many are made at once.
    seconds
        How long they are run, about.
    """
    runs = [_from_one_state(kernel, state, keys, count) for count, keys, _ in sides]
    idle = [median(idle_seconds(run)) for run in runs]
    steps = [steps for *_, steps in sides]
    rounds: list[list[float]] = []
    while sum(map(sum, rounds)) < seconds:
        rounds.append([clocked(*side)[1] for side in zip(runs, steps, strict=True)])
    later = [median(times) for times in zip(*rounds[len(rounds) // 2 :], strict=True)]
    return [
        time_of_step([taken], made, [empty])
        for taken, made, empty in zip(later, steps, idle, strict=True)
    ]


def _from_one_state(
    kernel: Kernel, state: PyTree, keys: jax.Array, count: int
) -> Callable[[int], Any]:
    """Return the call that makes so many steps of chains that all begin at ``state``."""
    starts = jax.block_until_ready(starts_near(kernel, state, count))
    return partial(side_by_side, kernel, state, starts, keys)


def time_of_step(times: Sequence[float], steps: int, idle: Sequence[float]) -> StepTime:
    """Return what a step takes, of the seconds of runs of so many and of calls that make none.

    By the fastest run, less the fastest of calls that make no step: other work of the machine only
    ever adds. The first step of a program takes several times as long, with memory cold and what
    its products of matrices keep not yet made, and is in none of the runs.
    """
    seconds = max(min(times) - min(idle), 0.0)
    return StepTime(seconds / steps, (median(idle) - min(idle)) / steps)


def idle_seconds(run: Callable[[int], Any]) -> list[float]:
    """Return the seconds of calls that make no step, without the first, which compiles."""
    return [clocked(run, 0)[1] for _ in range(1 + IDLE_CALLS)][1:]


def clocked(run: Callable[[int], Any], steps: int) -> tuple[Any, float]:
    """Return the outcome of a run of so many steps, and its seconds."""
    begin = time.perf_counter()
    result = jax.block_until_ready(run(steps))
    return result, time.perf_counter() - begin


def meeting(distances: np.ndarray, tolerance: float, total: int) -> Coupling:
    """Return how chains approach each other.

    Parameters
    ----------
    distances
        From the first chain, of every other one, before the first step and after each, shape
        ``(steps + 1, chains)``.
    tolerance
        Distance at which they have met.
    total
        Draws of the run.

    Examples
    --------
    >>> import numpy as np
    >>> halves = 0.5 ** np.arange(9.0)[:, None] * np.ones(3)
    >>> found = meeting(halves, 1e-4, 1000)
    >>> found.draws, bool(abs(found.exponent - np.log(0.5)) < 1e-12)
    (14, True)
    """
    steps = len(distances) - 1
    near = distances <= tolerance
    met = near.any(axis=0)
    ends = np.where(met, near.argmax(axis=0), steps)
    # The later half of each path: at first, directions shrink that are not the slowest.
    begins = ends // 2
    logs = np.log(np.maximum(distances, tolerance))
    first, last = (np.take_along_axis(logs, rows[None], axis=0)[0] for rows in (begins, ends))
    rise, count = last - first, ends - begins
    exponent = rise.sum() / max(count.sum(), 1)
    error = np.sqrt(np.sum((rise - exponent * count) ** 2)) / max(count.sum(), 1)
    draws = np.inf
    if met.all():
        draws = ends.max()
    elif exponent + SIGNIFICANT * error < 0:
        draws = steps + np.ceil((np.log(tolerance) - logs[-1].max()) / exponent)
    until = int(draws) if draws < total else None
    return Coupling(until, float(exponent), float(error), until)


def foreseen_from(found: Coupling, missed: float, foresight: int, tolerance: float) -> Coupling:
    """Return how chains approach each other, with what the starts of lanes gain by a model.

    Parameters
    ----------
    found
        What is known without.
    missed
        Distance of the last states from where the model leads.
    foresight
        Draws that it guesses before each lane.
    tolerance
        Distance at which chains have met.

    Examples
    --------
    >>> found = Coupling(66, -0.14, 0.01, 66)
    >>> [foreseen_from(found, missed, 128, 1e-4).draws_again for missed in (1e-4, 0.02, 2)]
    [33, 38, 66]
    """
    if found.draws is None or not missed <= TRUSTED or not found.exponent < 0:
        return found
    gap = missed + np.exp(found.exponent * foresight)
    again = np.ceil(np.log(gap / tolerance) / -found.exponent)
    least = np.ceil(LEAST_AGAIN * found.draws)
    return found._replace(draws_again=int(np.clip(again, least, found.draws)))


@partial(jax.jit, static_argnames="count")
def starts_near(kernel: Kernel, state: PyTree, count: int, seed: int | None = None) -> PyTree:
    """Return ``state`` as the solver has it, so many times; with a seed, others around it.

    Those are a standard deviation away in each coordinate, or 1 where the kernel does not know its
    scale.
    """
    bound = kernel.bind(state.position)
    chart = bound.recurrence.chart
    first = bound.enter(state)
    if seed is None:
        return repeated(first, count)
    x = chart.coordinates(first)
    noise = jax.random.normal(jax.random.key(seed), (count, x.size), x.dtype)
    return jax.vmap(chart.lift)(repeated(first, count), x + _scale(bound, x.dtype) * noise)


@jax.jit
def side_by_side(
    kernel: Kernel, state: PyTree, starts: PyTree, keys: jax.Array, steps: int
) -> tuple[jax.Array, PyTree]:
    """Return the paths of chains that have the same random numbers.

    They begin at ``starts``, as :func:`starts_near` returns them for ``state``. How many of the
    draws are made is no part of the program.

    Returns
    -------
    jax.Array
        Coordinates in units of their scale, at first and after each of ``steps`` steps, shape
        ``(len(keys) + 1, count, D)``; what was not made is zero.
    PyTree
        What the steps recorded.
    """
    bound = kernel.bind(state.position)
    count = num_steps(starts)
    draws = jax.vmap(bound.draw)(keys)
    step = jax.vmap(bound.recurrence.step)
    shapes = jax.eval_shape(step, starts, repeated(at(draws, 0), count))
    record = jax.tree.map(lambda leaf: jnp.zeros((len(keys), *leaf.shape), leaf.dtype), shapes)

    def body(t: jax.Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        states, record = carry
        made = step(states, repeated(at(draws, t), count))
        # All of it is kept, as in a run: to write it is much of what a small step takes.
        return made[0], jax.tree.map(lambda rows, row: rows.at[t].set(row), record, made)

    _, record = jax.lax.fori_loop(0, steps, body, (starts, record))
    coordinates = jax.vmap(bound.recurrence.chart.coordinates)
    path = jnp.concatenate([coordinates(starts)[None], jax.vmap(coordinates)(record[0])])
    return path / _scale(bound, path.dtype), record[1]


@jax.jit
def guessed(kernel: Kernel, state: PyTree, starts: PyTree, keys: jax.Array) -> jax.Array:
    """Return the paths of :func:`side_by_side` as the kernel's own model of itself has them.

    Shape ``(len(keys), count, D)``; without what chains begin at.
    """
    bound = kernel.bind(state.position)
    draws = jax.vmap(bound.draw)(keys)
    paths = jax.vmap(bound.imitated.guess, in_axes=(0, None), out_axes=1)(starts, draws)
    coordinates = jax.vmap(jax.vmap(bound.recurrence.chart.coordinates))(paths)
    return coordinates / _scale(bound, coordinates.dtype)


def _scale(bound: BoundKernel, dtype: Any) -> jax.Array:
    return jnp.asarray(1 if bound.scale is None else bound.scale, dtype)
