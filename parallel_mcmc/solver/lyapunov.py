"""The largest Lyapunov exponent of a recurrence along its trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import (
    require_arrays,
    require_callable,
)
from parallel_mcmc._tree import PyTree, preceding
from parallel_mcmc.solver.plain_loop import run_sequentially
from parallel_mcmc.solver.recurrence import (
    checked_state,
    checked_states,
    common_length,
    plain_recurrence,
    require_fitting,
)
from parallel_mcmc.solver.scans import log_products

BATCHES = 20
"""Batch means that the standard error is taken from."""


class LyapunovEstimate(NamedTuple):
    """The largest Lyapunov exponent, per step."""

    exponent: jax.Array
    """Mean growth of the logarithm of a small difference in one step. Negative where two
    trajectories with the same inputs approach each other, so that parallel evaluation pays."""
    standard_error: jax.Array
    """Standard error of it, from the means of 20 batches of steps."""
    growth: jax.Array
    """Growth at every step, shape ``(T,)``: the exponent is its mean."""


def lyapunov_exponent(
    step: Callable[[PyTree, PyTree], PyTree],
    initial_state: PyTree,
    inputs: PyTree,
    states: PyTree | None = None,
) -> LyapunovEstimate:
    """Estimate the largest Lyapunov exponent of ``s_t = step(s_{t-1}, inputs_t)``.

    The products ``J_t … J_1`` of the Jacobians along the trajectory are formed by an associative
    scan that keeps every product at norm 1 and its logarithm apart, so that nothing overflows and
    no QR decomposition is needed. Needs ``T x D x D`` memory.

    Parameters
    ----------
    step
        The recurrence, ``step(state, input) -> state``.
    initial_state
        ``s_0``: a pytree with at least one floating-point leaf.
    inputs
        Pytree whose leaves have a common leading axis T, at least 20.
    states
        The trajectory ``s_1 … s_T``, such as ``solve(...).states``; computed by the plain loop if
        not given.

    Returns
    -------
    LyapunovEstimate
        The exponent per step, its standard error, and the growth at every step.

    Raises
    ------
    TypeError
        If ``step`` is not callable, or a leaf is no array.
    ValueError
        If there are fewer than 20 steps, ``step`` does not fit ``initial_state``, or ``states`` is
        not T states, all finite.

    References
    ----------
    Gonzalez, Kozachkov, Zoltowski, Clarkson, Linderman, arXiv 2508.16817, section 3.

    Examples
    --------
    >>> import jax.numpy as jnp, parallel_mcmc as pmc
    >>> def logistic_map(x, _):
    ...     return 4 * x * (1 - x)
    >>> estimate = pmc.lyapunov_exponent(logistic_map, jnp.array(0.3), jnp.zeros(2000))
    >>> bool(abs(estimate.exponent - jnp.log(2)) < 4 * estimate.standard_error + 0.01)
    True
    """
    require_callable("step", step)
    inputs = require_arrays("inputs", inputs)
    total = common_length("inputs", inputs, BATCHES)
    initial_state = checked_state(initial_state)
    if states is not None:
        states = checked_states("states", states, initial_state, total)
    recurrence = plain_recurrence(step)
    require_fitting(recurrence, initial_state, inputs)
    return estimate_exponent(recurrence, initial_state, inputs, states)


@jax.jit
def estimate_exponent(recurrence, initial_state, inputs, states) -> LyapunovEstimate:
    """Return the estimate for arguments that are known to be right."""
    if states is None:
        states = run_sequentially(recurrence, initial_state, inputs)[0]
    arguments = preceding(initial_state, states)

    def jacobian(state, value):
        x = recurrence.chart.coordinates(state)
        return jax.jacfwd(lambda z: recurrence.lifted_step(z, state, value)[0])(x)

    logs = log_products(jax.vmap(jacobian)(arguments, inputs))
    growth = jnp.diff(logs, prepend=jnp.zeros_like(logs[:1]))
    size = len(growth) // BATCHES
    batches = growth[-size * BATCHES :].reshape(BATCHES, size).mean(axis=1)
    error = jnp.std(batches, ddof=1) / jnp.sqrt(jnp.asarray(BATCHES, growth.dtype))
    return LyapunovEstimate(jnp.mean(growth), error, growth)
