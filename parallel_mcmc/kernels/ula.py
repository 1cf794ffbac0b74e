"""The unadjusted Langevin algorithm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._errors import require_callable, require_positive
from parallel_mcmc._tree import PyTree, all_finite, as_partial, pytree, select
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.metropolis import DIVERGENCE_THRESHOLD
from parallel_mcmc.kernels.whitened import Flat, WhitenedKernel, apparent_centre
from parallel_mcmc.solver.chart import Chart
from parallel_mcmc.solver.scans import diagonal_scan


class LangevinInfo(NamedTuple):
    """Information about one unadjusted transition."""

    energy_change: jax.Array
    """What a Metropolis test would look at: ``-log α``, small where the bias is small."""
    is_divergent: jax.Array
    """Whether it exceeds 1000, or the next state would not be finite; it is then not entered."""


def langevin_info(energy_change: jax.Array, sound: jax.Array) -> LangevinInfo:
    """Return the information about a transition with that change of energy.

    ``sound`` tells whether the state that it led to is finite.
    """
    return LangevinInfo(energy_change, ~sound | ~(energy_change <= DIVERGENCE_THRESHOLD))


@pytree
@dataclasses.dataclass(frozen=True)
class ULA(WhitenedKernel):
    """Unadjusted Langevin kernel; made by :func:`ula`."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    metric: Metric

    def draw_like(self, key: jax.Array, position: PyTree) -> jax.Array:
        """Draw standard normal numbers, shape ``(D,)``."""
        vector = ravel_pytree(position)[0]
        return jax.random.normal(key, vector.shape, vector.dtype)

    def transition(
        self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: jax.Array
    ) -> tuple[Flat, LangevinInfo]:
        """Move to ``w + ε grad + sqrt(2 ε) z``, or stay where the target there is not finite."""
        step_size = jnp.asarray(self.step_size, state.position.dtype)
        move = step_size * state.logdensity_grad + jnp.sqrt(2 * step_size) * draw
        after = evaluate(state.position + move)
        back = -move - step_size * after.logdensity_grad
        change = 0.25 / step_size * jnp.sum(back**2) - 0.5 * jnp.sum(draw**2)
        sound = all_finite(after)
        info = langevin_info(state.logdensity - after.logdensity + change, sound)
        return select(sound, after, state), info

    def surrogate(
        self, state: Flat, draw: jax.Array, next_state: Flat, info: LangevinInfo
    ) -> jax.Array:
        """Return ``1 - ε``."""
        return jnp.asarray(1 - self.step_size, state.position.dtype)

    def predict(self, chart: Chart, state: Flat, draws: jax.Array) -> Flat:
        """Guess the coming states: the kernel on the unit Gaussian seen from ``state``."""
        step_size = jnp.asarray(self.step_size, state.position.dtype)
        centre = apparent_centre(state)
        noise = jnp.sqrt(2 * step_size) * draws
        first = noise.at[0].add((1 - step_size) * (state.position - centre))
        decay = jnp.full((len(noise), 1), 1 - step_size)
        positions = centre + diagonal_scan(decay, first)
        return jax.vmap(chart.place, in_axes=(None, 0))(state, positions)


def ula(
    logdensity_fn: Callable[[PyTree], jax.Array],
    step_size: float,
    inverse_mass_matrix: Any = None,
) -> ULA:
    """Return an unadjusted Langevin kernel: ``q' = q + ε M⁻¹ ∇log π(q) + sqrt(2 ε) M^(-1/2) z``.

    MALA without its Metropolis test: every step contracts, at the price of a bias that grows with
    the step size. On a Gaussian its stationary variance is ``1 / (1 - ε/2)`` times the right one
    in units of the metric.

    Parameters
    ----------
    logdensity_fn
        Log density of a position, up to a constant: a scalar.
    step_size
        ``ε``, positive: the diffusion's time step, in units of the metric.
    inverse_mass_matrix
        Estimate of the posterior covariance, ``(D,)`` or ``(D, D)``; the identity by default.

    Returns
    -------
    ULA
        A kernel with ``init``, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``logdensity_fn`` is not callable.
    ValueError
        If ``step_size`` is not positive, or ``inverse_mass_matrix`` not positive definite.

    References
    ----------
    Roberts and Tweedie, Bernoulli 2(4), 1996.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.ula(lambda x: -0.5 * jnp.sum(x**2), 0.1)
    >>> state = kernel.init(jnp.ones(2))
    >>> state, info = kernel.step(state, kernel.draw(jax.random.key(0), state.position))
    >>> bool(info.is_divergent)
    False
    """
    require_callable("logdensity_fn", logdensity_fn)
    step_size = require_positive("step_size", step_size)
    return ULA(as_partial(logdensity_fn), jnp.asarray(step_size), metric(inverse_mass_matrix))
