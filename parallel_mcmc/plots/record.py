"""What the pictures of the solver show: every iterate, and how a chain forgets its past."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np

from parallel_mcmc._errors import require_key, require_positive_int
from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.solver import Newton
from parallel_mcmc.solver.buffers import padded_by, section, shifted
from parallel_mcmc.solver.defaults import default_tolerance
from parallel_mcmc.solver.lyapunov import BATCHES, LyapunovEstimate, estimate_exponent
from parallel_mcmc.solver.newton import Iteration, newton_iteration
from parallel_mcmc.solver.recurrence import Recurrence


@dataclasses.dataclass(frozen=True)
class Iterations:
    """Every iterate of a chain, K Newton iterations over T draws in D dimensions."""

    coordinates: np.ndarray
    """Whitened positions, shape ``(K + 1, T, D)``, the first guess included; not a number where a
    window has not come to yet."""
    residual: np.ndarray
    """Residual of every step in posterior standard deviations, shape ``(K, T)``; not a number
    outside the window."""
    done: np.ndarray
    """Draws found after each iteration, shape ``(K,)``."""
    window: int
    """Draws solved for together."""
    tolerance: float
    """Largest residual of a draw that is taken as found."""
    evaluations: int
    """Steps evaluated in all, Jacobian-vector products included."""


def record_iterations(
    kernel: Kernel,
    position: PyTree,
    key: jax.Array,
    num_samples: int,
    *,
    method: Newton | None = None,
    window: int | None = None,
    max_iterations: int = 200,
) -> Iterations:
    """Solve for a chain as :func:`parallel_mcmc.sample` does, and keep every iterate.

    It is for pictures: the loop over the iterations is Python's, and every state is unknown,
    whatever the stride of the method.

    Parameters
    ----------
    kernel
        A transition kernel.
    position
        Where the chain starts.
    key
        A key of ``jax.random.key`` or ``jax.random.PRNGKey``; the chain is that of ``sample``.
    num_samples
        Draws of the chain.
    method
        The parallel Newton method; by default one with the full Jacobian.
    window
        Draws solved for together; by default all of them.
    max_iterations
        Where to stop, though not all draws are found.

    Raises
    ------
    TypeError
        If ``key`` is no key.
    ValueError
        If a number is not a positive integer.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> iterations = record_iterations(kernel, jnp.zeros(2), jax.random.key(0), 64, window=16)
    >>> int(iterations.done[-1]), iterations.coordinates.shape[1:]
    (64, (64, 2))
    """
    key = require_key("key", key)
    num_samples = require_positive_int("num_samples", num_samples)
    max_iterations = require_positive_int("max_iterations", max_iterations)
    window = min(require_positive_int("window", window or num_samples), num_samples)
    method = Newton() if method is None else method
    bound = kernel.bind(position)
    recurrence = bound.recurrence
    draws = jax.vmap(bound.draw)(jax.random.split(key, num_samples))
    # As in the solver: a window that holds the whole chain stays where it is. One that slides
    # looks beyond the end at last, at draws whose results are dropped.
    sliding = window < num_samples
    draws = padded_by(draws, 2 * window if sliding else 0)
    anchor = bound.enter(kernel.init(position))
    first = recurrence.chart.coordinates(anchor)
    tolerance = default_tolerance(first.dtype)
    scale = bound.solver_scale(first.dtype)
    guess = _guess(recurrence, anchor, draws, 0, window)
    memory = method.initial_memory(window, first.size, first.dtype)
    begin = done = 0
    seen = np.full((num_samples + window, first.size), np.nan)
    seen[:window] = _coordinates(recurrence, guess)
    iterates, residuals, found = [seen[:num_samples].copy()], [], []
    while done < num_samples and len(found) < max_iterations:
        inputs = section(draws, begin, window)
        step, coordinates = _iterate(
            method,
            recurrence,
            (anchor, guess, memory),
            inputs,
            scale,
            len(found),
            tolerance,
            num_samples - begin,
        )
        residual = np.full(num_samples + window, np.nan)
        residual[begin : begin + window] = step.gap
        seen[begin : begin + window] = coordinates
        accepted = int(step.found.accepted)
        done = begin + accepted
        iterates.append(seen[:num_samples].copy())
        residuals.append(residual[:num_samples])
        found.append(done)
        if step.found.blocked:
            break
        if sliding:
            anchor, guess, memory = _slide(method, recurrence, step, draws, begin, accepted)
            begin = done
        else:
            guess, memory = step.guess, step.memory
    return Iterations(
        np.stack(iterates),
        np.stack(residuals),
        np.array(found),
        window,
        float(tolerance),
        len(found) * window * method.jacobian.evaluations(first.size),
    )


# Compiled once for kernels of one kind: what is traced anew in every iteration is compiled anew.
@partial(jax.jit, static_argnames="window")
def _guess(
    recurrence: Recurrence, state: PyTree, draws: PyTree, start: jax.Array | int, window: int
) -> PyTree:
    return recurrence.guess(state, section(draws, start, window))


@jax.jit
def _coordinates(recurrence: Recurrence, states: PyTree) -> jax.Array:
    return jax.vmap(recurrence.chart.coordinates)(states)


@jax.jit
def _iterate(
    method: Newton,
    recurrence: Recurrence,
    iterate: tuple[PyTree, PyTree, Any],
    inputs: PyTree,
    scale: jax.Array | None,
    count: jax.Array,
    tolerance: float,
    left: int,
) -> tuple[Iteration, jax.Array]:
    anchor, guess, memory = iterate
    step = newton_iteration(
        method,
        recurrence,
        anchor,
        guess,
        inputs,
        memory,
        scale,
        count,
        tolerance=tolerance,
        left=left,
    )
    return step, _coordinates(recurrence, step.guess)


@jax.jit
def _slide(
    method: Newton,
    recurrence: Recurrence,
    step: Iteration,
    draws: PyTree,
    done: jax.Array | int,
    accepted: jax.Array | int,
) -> tuple[PyTree, PyTree, Any]:
    """Return the anchor, the guess and the memory of the window that is ``accepted`` further on."""
    window, dim = step.memory.value.shape
    tail = _guess(recurrence, at(step.guess, window - 1), draws, done + window, window)
    fresh = method.initial_memory(window, dim, step.memory.value.dtype)
    guess, memory = shifted((step.guess, step.memory), (tail, fresh), accepted)
    return at(step.values, accepted - 1), guess, memory


def estimate_lyapunov(
    kernel: Kernel, position: PyTree, key: jax.Array, num_samples: int
) -> LyapunovEstimate:
    """Estimate the largest Lyapunov exponent of a chain, per draw.

    Where it is negative the chain forgets its past, and the parallel iteration converges in a
    number of iterations that hardly depends on the length of the chain; where it is positive it
    cannot pay.

    Parameters
    ----------
    kernel
        A transition kernel.
    position
        Where the chain starts.
    key
        A key of ``jax.random.key`` or ``jax.random.PRNGKey``.
    num_samples
        Draws to follow it for, at least 20.

    Returns
    -------
    LyapunovEstimate
        As :func:`parallel_mcmc.lyapunov_exponent` gives it.

    Raises
    ------
    TypeError
        If ``key`` is no key.
    ValueError
        If ``num_samples`` is less than 20.

    References
    ----------
    Gonzalez, Kozachkov et al., arXiv 2508.16817.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> estimate_lyapunov(kernel, jnp.zeros(2), jax.random.key(0), 200).exponent < 0
    Array(True, dtype=bool)
    """
    key = require_key("key", key)
    if require_positive_int("num_samples", num_samples) < BATCHES:
        raise ValueError(f"num_samples must be at least {BATCHES}, got {num_samples}")
    state = kernel.init(position)
    bound = kernel.bind(state.position)
    draws = jax.vmap(bound.draw)(jax.random.split(key, num_samples))
    return estimate_exponent(bound.recurrence, bound.enter(state), draws, None)
