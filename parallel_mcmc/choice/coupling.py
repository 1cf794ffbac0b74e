"""How soon chains with the same random numbers meet, and what a batch of them costs."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._tree import PyTree, at, num_steps, repeated
from parallel_mcmc.choice import measure
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.solver.api import default_tolerance

SIGNIFICANT = 2.0
"""Standard errors below zero from which on an exponent is negative."""


class Coupling(NamedTuple):
    """What a few steps of chains side by side have shown."""

    draws: int | None
    """Draws until they have met; extrapolated where the steps did not do. None where they do not
    clearly approach each other, or not within the run."""
    exponent: float
    """Growth of their distance in one draw, on the log scale: the largest Lyapunov exponent."""
    error: float
    """Standard error of it, from the chains."""
    seconds: float
    """Time of one step of all of them."""


def measure_coupling(
    kernel: Kernel, states: PyTree, keys: jax.Array, lanes: int, total: int
) -> Coupling:
    """Run chains from around the first of ``states`` with the same random numbers.

    Parameters
    ----------
    kernel
        A transition kernel, whose coordinates have a known scale.
    states
        States of the kernel, leaves ``(num_chains, ...)``.
    keys
        Of the draws to make, shape ``(steps,)``.
    lanes
        Chains side by side for each of ``states``.
    total
        Draws of the run.
    """
    together = partial(side_by_side, count=lanes * num_steps(states))
    (distances, _), seconds = measure.timed_apart(together, kernel, at(states, 0), keys)
    found = meeting(np.asarray(distances, float), default_tolerance(distances.dtype), total)
    return found._replace(seconds=seconds / len(keys))


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
    return Coupling(int(draws) if draws < total else None, float(exponent), float(error), np.nan)


@partial(jax.jit, static_argnames="count")
def side_by_side(kernel: Kernel, state: PyTree, keys: jax.Array, count: int) -> tuple:
    """Return how far ``count - 1`` chains are from the first, which begins at ``state``.

    The others begin a standard deviation away from it in each coordinate, or 1 where the kernel
    does not know its scale, and all have the same random numbers.

    Returns
    -------
    jax.Array
        Largest difference of a coordinate in units of its scale, before the first step and after
        each, shape ``(steps + 1, count - 1)``.
    PyTree
        The last states: what is not returned would not be computed.
    """
    bound = kernel.bind(state.position)
    chart = bound.recurrence.chart
    first = bound.enter(state)
    x = chart.coordinates(first)
    scale = jnp.asarray(1 if bound.scale is None else bound.scale, x.dtype)
    noise = jax.random.normal(jax.random.key(0), (count, x.size), x.dtype).at[0].set(0)
    start = jax.vmap(chart.lift)(repeated(first, count), x + scale * noise)

    def distance(states: PyTree) -> jax.Array:
        y = jax.vmap(chart.coordinates)(states)
        return jnp.max(jnp.abs(y[1:] - y[0]), axis=1) / scale

    def step(states: PyTree, draw: PyTree) -> tuple[PyTree, jax.Array]:
        states, _ = jax.vmap(bound.recurrence.step)(states, repeated(draw, count))
        return states, distance(states)

    last, later = jax.lax.scan(step, start, jax.vmap(bound.draw)(keys))
    return jnp.concatenate([distance(start)[None], later]), last
