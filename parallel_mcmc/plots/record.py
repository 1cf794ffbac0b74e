"""What the pictures of the solver show: every iterate, and how a chain forgets its past."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._errors import require_key, require_positive_int
from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.solver import Newton
from parallel_mcmc.solver.api import default_tolerance
from parallel_mcmc.solver.lyapunov import BATCHES, LyapunovEstimate, estimate_exponent
from parallel_mcmc.solver.newton import Iteration, newton_iteration
from parallel_mcmc.solver.window import (
    FoundPrefix,
    found_prefix,
    padded_by,
    section,
    shifted,
)


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

    It is for pictures: the loop over the iterations is Python's.

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
    # The last windows look beyond the end, at draws whose results are dropped.
    draws = padded_by(draws, 2 * window)
    anchor = bound.enter(kernel.init(position))
    first = recurrence.chart.coordinates(anchor)
    tolerance = default_tolerance(first.dtype)

    scale = bound.solver_scale(first.dtype)

    @jax.jit
    def iterate(
        anchor: PyTree, guess: PyTree, memory: Any, done: int, count: int
    ) -> tuple[Iteration, FoundPrefix]:
        inputs = section(draws, done, window)
        step = newton_iteration(
            method, recurrence, anchor, guess, inputs, memory, scale, jnp.asarray(count)
        )
        return step, found_prefix(step, tolerance, num_samples - done)

    coordinates = jax.jit(jax.vmap(recurrence.chart.coordinates))
    fresh = method.initial_memory(window, first.size, first.dtype)
    guess, memory, done = recurrence.guess(anchor, section(draws, 0, window)), fresh, 0
    seen = np.full((num_samples + window, first.size), np.nan)
    seen[:window] = coordinates(guess)
    iterates, residuals, found = [seen[:num_samples].copy()], [], []
    while done < num_samples and len(found) < max_iterations:
        step, prefix = iterate(anchor, guess, memory, done, len(found))
        residual = np.full(num_samples + window, np.nan)
        residual[done : done + window] = step.gap
        seen[done : done + window] = coordinates(step.guess)
        accepted = int(prefix.accepted)
        iterates.append(seen[:num_samples].copy())
        residuals.append(residual[:num_samples])
        found.append(done + accepted)
        if prefix.blocked:
            break
        anchor = jax.tree.map(lambda leaf, n=accepted: leaf[n - 1], step.values)
        last = jax.tree.map(lambda leaf: leaf[-1], step.guess)
        tail = recurrence.guess(last, section(draws, done + window, window))
        guess, memory = shifted((step.guess, step.memory), (tail, fresh), accepted)
        done += accepted
    return Iterations(
        np.stack(iterates), np.stack(residuals), np.array(found), window, float(tolerance)
    )


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
