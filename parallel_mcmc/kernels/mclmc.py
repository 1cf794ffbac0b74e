"""Microcanonical Langevin Monte Carlo, unadjusted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._errors import require_callable, require_positive
from parallel_mcmc._tree import PyTree, as_partial, pytree
from parallel_mcmc.kernels.base import PhaseState
from parallel_mcmc.kernels.isokinetic import isokinetic_step, refresh, unit
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.phase import (
    FlatPhase,
    PhaseChart,
    PhaseKernel,
    PhaseTarget,
    with_momentum,
)
from parallel_mcmc.kernels.whitened import Flat
from parallel_mcmc.solver.chart import Chart


class MCLMCInfo(NamedTuple):
    """Information about one transition, named as in BlackJAX."""

    logdensity: jax.Array
    """Log density of the new position."""
    kinetic_change: jax.Array
    """Change of the kinetic energy."""
    energy_change: jax.Array
    """Change of the energy: the integrator's error."""
    nonans: jax.Array
    """Whether the step was finite; if not the position stays and the momentum is drawn anew."""


class MCLMCDraw(NamedTuple):
    """The random numbers of one transition, each of shape ``(D,)``, standard normal."""

    first: jax.Array
    """Of the refreshment before the step."""
    second: jax.Array
    """Of the refreshment after it."""
    restart: jax.Array
    """Direction of the new momentum where the step is not finite."""


@pytree
@dataclasses.dataclass(frozen=True)
class MCLMC(PhaseKernel):
    """Microcanonical Langevin kernel; made by :func:`mclmc`."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    L: jax.Array
    step_size: jax.Array
    metric: Metric

    @property
    def gradients_per_step(self) -> int:
        """The two of the minimal-norm integrator."""
        return 2

    def init(self, position: PyTree, key: jax.Array | None = None) -> PhaseState:
        """Return the state at ``position``, its momentum drawn with ``key``."""
        if ravel_pytree(position)[0].size < 2:
            raise ValueError("initial_position must have at least 2 dimensions for MCLMC, got 1")
        return super().init(position, key)

    def initial_momentum(self, key: jax.Array, position: PyTree) -> PyTree:
        """Draw a direction."""
        vector, unravel = ravel_pytree(position)
        return unravel(unit(jax.random.normal(key, vector.shape, vector.dtype)))

    def target(self, position: PyTree) -> PhaseTarget:
        """Return the log density in whitened coordinates, in which the momentum is given."""
        return PhaseTarget(self.logdensity_fn, self.metric, position, covariant=False)

    def chart(self, target: PhaseTarget) -> Chart:
        """Return position and momentum, whose entries are about ``1 / sqrt(D)``."""
        return PhaseChart(target, 1 / math.sqrt(ravel_pytree(target.position)[0].size))

    def draw_like(self, key: jax.Array, position: PyTree) -> MCLMCDraw:
        """Draw from keys split as BlackJAX does, so that equal keys give equal chains."""
        vector = ravel_pytree(position)[0]
        key_step, _, key_restart = jax.random.split(key, 3)
        first, second = jax.random.split(key_step)
        normals = (
            jax.random.normal(k, vector.shape, vector.dtype) for k in (first, second, key_restart)
        )
        return MCLMCDraw(*normals)

    def unit_gaussian(self, draw: MCLMCDraw) -> tuple[jax.Array, jax.Array]:
        """Return a rotation between two refreshments.

        On the shell where a high-dimensional Gaussian lives, the gradient has length ``sqrt(D)``
        and isokinetic motion is Hamiltonian motion, slower by ``sqrt(D)``.
        """
        angle = self.step_size / math.sqrt(draw.first.size)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        decay = jnp.exp(-0.5 * self.step_size / self.L)
        gain = jnp.sqrt(-jnp.expm1(-self.step_size / self.L))
        matrix = jnp.array([[cos, sin * decay], [-sin * decay, cos * decay**2]])
        noise = jnp.stack(
            [sin * gain * draw.first, decay * cos * gain * draw.first + gain * draw.second]
        )
        return matrix, noise.astype(draw.first.dtype)

    def transition(
        self, evaluate: Callable[[jax.Array], Flat], state: FlatPhase, draw: MCLMCDraw
    ) -> tuple[FlatPhase, MCLMCInfo]:
        """Refresh the momentum, step, refresh the momentum."""
        length, step_size = (jnp.asarray(x, state.position.dtype) for x in (self.L, self.step_size))
        momentum = refresh(state.momentum, draw.first, 0.5 * step_size, length)
        flat, momentum, kinetic = isokinetic_step(evaluate, state.flat, momentum, step_size)
        momentum = refresh(momentum, draw.second, 0.5 * step_size, length)
        change = kinetic - flat.logdensity + state.logdensity
        after = with_momentum(flat, momentum)
        numbers = ravel_pytree((after, kinetic, change))[0]
        sound = jnp.isfinite(numbers).all()
        stay = state._replace(momentum=unit(draw.restart))
        after = jax.tree.map(lambda new, old: jnp.where(sound, new, old), after, stay)
        info = MCLMCInfo(
            after.logdensity, jnp.where(sound, kinetic, 0), jnp.where(sound, change, 0), sound
        )
        return after, info


def mclmc(
    logdensity_fn: Callable[[PyTree], jax.Array],
    L: float,
    step_size: float,
    inverse_mass_matrix: Any = None,
) -> MCLMC:
    """Return a kernel of microcanonical Langevin Monte Carlo, unadjusted.

    With the same keys and a diagonal inverse mass matrix it draws the chain of ``blackjax.mclmc``
    with its default integrator.

    Parameters
    ----------
    logdensity_fn
        Log density of a position of at least two dimensions, up to a constant: a scalar.
    L
        Path length over which the momentum forgets its direction, positive, in units of the metric.
    step_size
        Path length of one step, positive, in units of the metric.
    inverse_mass_matrix
        Estimate of the posterior covariance, ``(D,)`` or ``(D, D)``; the identity by default.

    Returns
    -------
    MCLMC
        A kernel with ``init``, which needs a key for the momentum, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``logdensity_fn`` is not callable.
    ValueError
        If ``L`` or ``step_size`` is not positive, or ``inverse_mass_matrix`` not positive definite.

    References
    ----------
    Robnik and Seljak, Fluctuation without dissipation: microcanonical Langevin Monte Carlo, arXiv
    2303.18221.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mclmc(lambda x: -0.5 * jnp.sum(x**2), L=2.0, step_size=0.5)
    >>> samples = pmc.sample(jax.random.key(0), kernel, jnp.zeros(3), 100, progress_bar=False)
    >>> bool(samples.info.nonans.all())
    True
    """
    require_callable("logdensity_fn", logdensity_fn)
    return MCLMC(
        as_partial(logdensity_fn),
        jnp.asarray(require_positive("L", L)),
        jnp.asarray(require_positive("step_size", step_size)),
        metric(inverse_mass_matrix),
    )
