"""``diagnose`` draws a chain both ways, and measures."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._errors import require_key, require_positive_int
from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.choice.auto import choose
from parallel_mcmc.choice.measure import run_chain, timed
from parallel_mcmc.choice.runner import CPU_WINDOW
from parallel_mcmc.diagnosis.advice import advice
from parallel_mcmc.diagnosis.report import Report
from parallel_mcmc.kernels.base import Kernel, require_kernel
from parallel_mcmc.kernels.chain import Chain, Parallel, Sequential
from parallel_mcmc.kernels.start import initial_states
from parallel_mcmc.sampling import chain_keys
from parallel_mcmc.solver.defaults import default_tolerance
from parallel_mcmc.solver.lyapunov import BATCHES, estimate_exponent

LARGEST_DIM = 256
"""Most coordinates for which the Lyapunov exponent is estimated: it takes D x D matrices."""


def diagnose(
    kernel: Kernel,
    initial_position: PyTree,
    key: jax.Array,
    *,
    num_samples: int = 1024,
    window: int | None = None,
) -> Report:
    """Find out whether the parallel solver pays for a kernel, and what would help.

    A chain is drawn by the plain loop and by the parallel solver, with all draws in one window and
    with a sliding one, and the two are timed. Start it where the chain has forgotten its start,
    with a tuned kernel: a chain on its way to the posterior says little of the rest.

    Parameters
    ----------
    kernel
        A transition kernel, such as ``pmc.hmc(...)``.
    initial_position
        Position of one chain.
    key
        A key of ``jax.random.key`` or ``jax.random.PRNGKey``.
    num_samples
        Draws to look at, at least 20.
    window
        Steps of the sliding window; by default that of :func:`parallel_mcmc.sample` on a CPU.

    Returns
    -------
    Report
        Counts, times and advice.

    Raises
    ------
    TypeError
        If ``kernel`` is no kernel, or ``key`` is no key.
    ValueError
        If an argument has a wrong shape or value, or the log density is not finite at
        ``initial_position``; the message names the argument.

    References
    ----------
    The exponent decides whether parallel evaluation can pay: Gonzalez, Kozachkov et al., arXiv
    2508.16817.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> report = pmc.diagnose(kernel, jnp.zeros(3), jax.random.key(0), num_samples=200)
    >>> report.lyapunov_exponent < 0 and report.fallback_steps == 0
    True
    """
    require_kernel("kernel", kernel)
    key = require_key("key", key)
    num_samples = require_positive_int("num_samples", num_samples)
    if num_samples < BATCHES:
        raise ValueError(f"num_samples must be at least {BATCHES}, got {num_samples}")
    window = CPU_WINDOW if window is None else require_positive_int("window", window)
    window = min(window, num_samples)
    init_keys, keys = chain_keys(key, 1, num_samples)
    states = initial_states(kernel, initial_position, 1, init_keys)
    state = at(states, 0)
    arguments = (kernel, state, keys[0])
    looped, sequential_seconds = timed(run_chain, Sequential(), *arguments)
    bound = kernel.bind(state.position)
    # A device as wide as the run is best used with every state unknown.
    every_state = dataclasses.replace(bound.method, stride=1)
    whole = run_chain(Parallel(every_state, num_samples), *arguments)
    slid, parallel_seconds = timed(run_chain, Parallel(None, window), *arguments)
    whitened = np.asarray(_coordinates(kernel, state, looped))
    exponent = _exponent(kernel, state, keys[0], looped, whitened.shape[1])
    depth = bound.gradients_per_step + bound.gradients_per_lift
    iterations = int(whole.stats.iterations)
    behind = int(whole.stats.fallback_steps) * bound.gradients_per_step
    rate = getattr(looped.info, "acceptance_rate", None)
    _, choice = choose("auto", None, kernel, states, keys)
    report = Report(
        kernel=type(kernel).__name__,
        device=jax.devices()[0].device_kind,
        dim=whitened.shape[1],
        num_samples=num_samples,
        acceptance_rate=None if rate is None else float(jnp.mean(rate)),
        lyapunov_exponent=exponent[0],
        lyapunov_error=exponent[1],
        predicted_iterations=_predicted(exponent[0], whitened.dtype, num_samples),
        iterations=iterations,
        fallback_steps=int(whole.stats.fallback_steps),
        window=window,
        evaluations_per_draw=float(slid.stats.gradient_evaluations) / num_samples,
        sequential_evaluations_per_draw=float(bound.gradients_per_step),
        sequential_seconds=sequential_seconds / num_samples,
        parallel_seconds=parallel_seconds / num_samples,
        largest_gain=num_samples * bound.gradients_per_step / (iterations * depth + behind),
        condition_number=_condition(whitened),
        choice=choice.solver,
        way=choice.way,
        reason=choice.reason,
        advice=(),
    )
    return dataclasses.replace(report, advice=advice(report, kernel))


@jax.jit
def _coordinates(kernel: Kernel, state: PyTree, chain: Chain) -> jax.Array:
    """Return the coordinates that the solver moves, of every draw, shape ``(T, D)``."""
    bound = kernel.bind(state.position)
    return jax.vmap(lambda s: bound.recurrence.chart.coordinates(bound.enter(s)))(chain.states)


@jax.jit
def _along(kernel: Kernel, state: PyTree, keys: jax.Array, chain: Chain) -> tuple:
    bound = kernel.bind(state.position)
    estimate = estimate_exponent(
        bound.recurrence,
        bound.enter(state),
        jax.vmap(bound.draw)(keys),
        jax.vmap(bound.enter)(chain.states),
    )
    return estimate.exponent, estimate.standard_error


def _exponent(
    kernel: Kernel, state: PyTree, keys: jax.Array, chain: Chain, dim: int
) -> tuple[float | None, float | None]:
    if dim > LARGEST_DIM:
        return None, None
    exponent, error = (float(value) for value in _along(kernel, state, keys, chain))
    return (exponent, error) if np.isfinite(exponent) else (None, None)


def _predicted(exponent: float | None, dtype: Any, num_samples: int) -> int | None:
    """Return how many steps it takes to forget a difference of one down to the tolerance."""
    if exponent is None or exponent >= 0:
        return None
    return min(num_samples, int(np.ceil(np.log(default_tolerance(dtype)) / exponent)))


def _condition(whitened: np.ndarray) -> float | None:
    draws, dim = whitened.shape
    if draws < 10 * dim or not np.isfinite(whitened).all():
        return None
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(whitened.T)))
    return float(values[-1] / values[0]) if values[0] > 0 else None
