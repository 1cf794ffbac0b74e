"""Underdamped Langevin dynamics by the BAOAB splitting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._errors import require_callable, require_positive
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import PyTree, all_finite, as_partial, pytree, select
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.phase import FlatPhase, PhaseKernel, with_momentum
from parallel_mcmc.kernels.ula import LangevinInfo, langevin_info
from parallel_mcmc.kernels.whitened import Flat


@pytree
@dataclasses.dataclass(frozen=True)
class UnderdampedLangevin(PhaseKernel):
    """Underdamped Langevin kernel; made by :func:`underdamped_langevin`."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    friction: jax.Array
    metric: Metric

    def initial_momentum(self, key: jax.Array, position: PyTree) -> PyTree:
        """Draw a momentum of covariance M."""
        vector, unravel = ravel_pytree(position)
        z = jax.random.normal(key, vector.shape, vector.dtype)
        return unravel(self.metric.push_gradient(z))

    def draw_like(self, key: jax.Array, position: PyTree) -> jax.Array:
        """Draw standard normal numbers, shape ``(D,)``."""
        vector = ravel_pytree(position)[0]
        return jax.random.normal(key, vector.shape, vector.dtype)

    @full_precision()
    def unit_gaussian(self, draw: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the product of the five parts, on a force of ``-w``."""
        h, (decay, gain) = self.step_size, self._refreshment()
        kick = jnp.array([[1.0, 0.0], [-0.5 * h, 1.0]])
        drift = jnp.array([[1.0, 0.5 * h], [0.0, 1.0]])
        after = kick @ drift
        matrix = after @ jnp.array([[1.0, 0.0], [0.0, decay]]) @ drift @ kick
        return matrix, (after[:, 1] * gain).astype(draw.dtype)[:, None] * draw

    def transition(
        self, evaluate: Callable[[jax.Array], Flat], state: FlatPhase, draw: jax.Array
    ) -> tuple[FlatPhase, LangevinInfo]:
        """Kick, drift, refresh the momentum, drift, kick.

        Where the target is not finite at the end, the position stays and the momentum turns round.
        """
        h = jnp.asarray(self.step_size, state.position.dtype)
        decay, gain = (jnp.asarray(x, h.dtype) for x in self._refreshment())
        kicked = state.momentum + 0.5 * h * state.logdensity_grad
        refreshed = decay * kicked + gain * draw
        after = evaluate(state.position + 0.5 * h * (kicked + refreshed))
        momentum = refreshed + 0.5 * h * after.logdensity_grad
        # The refreshment is exact: what it adds to the kinetic energy is no error.
        kinetic = [0.5 * jnp.sum(p**2) for p in (state.momentum, kicked, refreshed, momentum)]
        change = state.logdensity - after.logdensity
        change += kinetic[1] - kinetic[0] + kinetic[3] - kinetic[2]
        moved, turned = with_momentum(after, momentum), with_momentum(state.flat, -refreshed)
        sound = all_finite(moved)
        return select(sound, moved, turned), langevin_info(change, sound)

    def _refreshment(self) -> tuple[jax.Array, jax.Array]:
        decay = jnp.exp(-self.friction * self.step_size)
        return decay, jnp.sqrt(-jnp.expm1(-2 * self.friction * self.step_size))


def underdamped_langevin(
    logdensity_fn: Callable[[PyTree], jax.Array],
    step_size: float,
    friction: float = 1.0,
    inverse_mass_matrix: Any = None,
) -> UnderdampedLangevin:
    """Return an underdamped Langevin kernel, unadjusted, in the BAOAB splitting.

    Half a kick ``p += h/2 ∇log π``, half a drift ``q += h/2 M⁻¹ p``, a refreshment
    ``p' = exp(-γ h) p + sqrt(1 - exp(-2 γ h)) M^(1/2) z``, half a drift, half a kick. On a Gaussian
    the positions have the right covariance whatever the step size below the stability limit; on
    other targets the bias is of second order in it.

    Parameters
    ----------
    logdensity_fn
        Log density of a position, up to a constant: a scalar.
    step_size
        ``h``, positive, in units of the metric.
    friction
        ``γ``, positive: 1 / (the time in which the momentum is forgotten).
    inverse_mass_matrix
        Estimate of the posterior covariance, ``(D,)`` or ``(D, D)``; the identity by default.

    Returns
    -------
    UnderdampedLangevin
        A kernel with ``init``, which needs a key for the momentum, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``logdensity_fn`` is not callable.
    ValueError
        If ``step_size`` or ``friction`` is not positive, or ``inverse_mass_matrix`` not positive
        definite.

    References
    ----------
    Leimkuhler and Matthews, Appl. Math. Res. Express 2013, arXiv 1203.5428.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.underdamped_langevin(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    >>> samples = pmc.sample(jax.random.key(0), kernel, jnp.zeros(2), 100, progress_bar=False)
    >>> samples.final_state.momentum.shape
    (1, 2)
    """
    require_callable("logdensity_fn", logdensity_fn)
    return UnderdampedLangevin(
        as_partial(logdensity_fn),
        jnp.asarray(require_positive("step_size", step_size)),
        jnp.asarray(require_positive("friction", friction)),
        metric(inverse_mass_matrix),
    )
