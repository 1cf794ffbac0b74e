"""How soon chains with the same random numbers meet."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from parallel_mcmc._tree import PyTree, at, num_steps
from parallel_mcmc.choice.side_by_side import guessed, side_by_side, starts_near
from parallel_mcmc.choice.step_times import StepTime, clocked_runs
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import lane_foresight
from parallel_mcmc.solver.defaults import default_tolerance
from parallel_mcmc.solver.foresight import TRUSTED

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
    outcomes, taken = clocked_runs(run_of, steps)
    paths = np.concatenate([np.asarray(path, float) for path, _ in outcomes], axis=1)[: steps + 1]
    distances = np.abs(paths[:, 1:] - paths[:, :1]).max(axis=-1)
    tolerance = default_tolerance(outcomes[0][0].dtype)
    found = meeting(distances, tolerance, total)
    foresight = lane_foresight(kernel.bind(state.position), at(starts[0], 0), keys)
    if foresight:
        guesses = [np.asarray(guessed(kernel, state, start, keys)[steps - 1]) for start in starts]
        missed = np.abs(np.concatenate(guesses) - paths[steps]).max(axis=-1)
        found = foreseen_from(found, float(np.median(missed)), foresight, tolerance)
    return found, taken


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
