"""Hamiltonian Monte Carlo: a fixed number of leapfrog steps, or one drawn for every transition."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._errors import require_callable, require_positive, require_positive_int
from parallel_mcmc._tree import STATIC, PyTree, as_partial, pytree
from parallel_mcmc.kernels.gate import HARD_GATE, Gate, require_gate
from parallel_mcmc.kernels.gradient_kernel import GradientKernel
from parallel_mcmc.kernels.leapfrog import LEAPFROG, Integrator
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.metropolis import Candidate, candidate
from parallel_mcmc.kernels.metropolis_kernel import Draw
from parallel_mcmc.kernels.whitened import Flat


@dataclasses.dataclass(frozen=True)
class UniformSteps:
    """A number of leapfrog steps drawn anew for every transition, uniform on ``low … high``.

    A jittered length avoids the resonances of a fixed one (arXiv 1206.1901, section 3.2).

    Parameters
    ----------
    low, high
        Fewest and most steps, at least 1; the batch of a parallel solve costs ``high`` steps.

    Raises
    ------
    ValueError
        If they are not integers with ``1 <= low <= high``.

    Examples
    --------
    >>> import jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.3, None, pmc.UniformSteps(1, 9))
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        require_positive_int("low", self.low)
        require_positive_int("high", self.high)
        if self.low > self.high:
            raise ValueError(f"high must be at least low = {self.low}, got {self.high}")


class JitteredDraw(NamedTuple):
    """The random numbers of one transition of a drawn length."""

    normal: jax.Array
    """Standard normal numbers: the whitened momentum, shape ``(D,)``."""
    uniform: jax.Array
    """Uniform number of the accept step, scalar."""
    num_integration_steps: jax.Array
    """Number of leapfrog steps, scalar int."""


@pytree
@dataclasses.dataclass(frozen=True)
class HMC(GradientKernel):
    """Hamiltonian Monte Carlo kernel; made by :func:`hmc`."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    metric: Metric
    num_integration_steps: int | UniformSteps = dataclasses.field(metadata=STATIC)
    gate: Gate = HARD_GATE
    integrator: Integrator = LEAPFROG

    @property
    def gradients_per_step(self) -> int:
        """One gradient every leapfrog step, of the longest transition."""
        steps = self.num_integration_steps
        return steps.high if isinstance(steps, UniformSteps) else steps

    def draw_like(self, key: jax.Array, position: PyTree) -> Draw | JitteredDraw:
        """Draw the momentum and the uniform number, and the length where it is random."""
        if not isinstance(self.num_integration_steps, UniformSteps):
            return super().draw_like(key, position)
        vector = ravel_pytree(position)[0]
        key_momentum, key_uniform, key_length = jax.random.split(key, 3)
        low, high = self.num_integration_steps.low, self.num_integration_steps.high
        return JitteredDraw(
            jax.random.normal(key_momentum, vector.shape, vector.dtype),
            jax.random.uniform(key_uniform, (), vector.dtype),
            jax.random.randint(key_length, (), low, high + 1),
        )

    def unit_gaussian(self, draw: Draw | JitteredDraw) -> tuple[jax.Array, jax.Array]:
        """First row of the leapfrog matrix to the power of the number of steps.

        The matrix is a rotation by ``θ`` with ``cos θ = 1 - ε²/2`` in skewed coordinates. Beyond
        the stability limit ``ε = 2`` the limit's own map stands in for it.
        """
        half_square = 0.25 * jnp.clip(self.step_size, 0, 1.999) ** 2
        angle = self._steps(draw) * jnp.arccos(1 - 2 * half_square)
        return jnp.cos(angle), jnp.sin(angle) / jnp.sqrt(1 - half_square)

    def propose(
        self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: Draw | JitteredDraw
    ) -> Candidate:
        """Integrate with unit mass; the margin is that of the energy difference."""
        steps = self._steps(draw)
        step_size = jnp.asarray(self.step_size, state.position.dtype)
        proposal, momentum = self.integrator.run(
            evaluate, state, draw.normal, step_size, steps, self.gradients_per_step
        )
        return candidate(
            proposal, draw.uniform, _energy(state, draw.normal), _energy(proposal, momentum), steps
        )

    def _steps(self, draw: Draw | JitteredDraw) -> jax.Array | int:
        if isinstance(draw, JitteredDraw):
            return draw.num_integration_steps
        assert not isinstance(self.num_integration_steps, UniformSteps)
        return self.num_integration_steps


def _energy(state: Flat, momentum: jax.Array) -> jax.Array:
    return -state.logdensity + 0.5 * jnp.dot(momentum, momentum, precision="highest")


def hmc(
    logdensity_fn: Callable[[PyTree], jax.Array],
    step_size: float,
    inverse_mass_matrix: Any,
    num_integration_steps: int | UniformSteps,
    *,
    gate: Gate = HARD_GATE,
    integrator: Integrator = LEAPFROG,
) -> HMC:
    """Return an HMC kernel with velocity Verlet integration and an endpoint Metropolis test.

    With the same keys and a fixed number of steps it draws the chain of ``blackjax.hmc``.

    Parameters
    ----------
    logdensity_fn
        Log density of a position, up to a constant: a scalar.
    step_size
        Leapfrog step size, positive, in units of the metric.
    inverse_mass_matrix
        Estimate of the posterior covariance, ``(D,)`` or ``(D, D)``; None for the identity. For
        many dimensions a :class:`LowRankMetric`.
    num_integration_steps
        Leapfrog steps of one transition; :class:`UniformSteps` to draw it every time.
    gate
        What the derivative of the accept decision is, for the models that differentiate the step;
        none by default.
    integrator
        How the trajectory is found: step by step by default.

    Returns
    -------
    HMC
        A kernel with ``init``, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``logdensity_fn`` is not callable, or ``gate`` or ``integrator`` is none.
    ValueError
        If ``step_size`` or ``num_integration_steps`` is not positive, or ``inverse_mass_matrix``
        not positive definite.

    References
    ----------
    Neal, MCMC using Hamiltonian dynamics, arXiv 1206.1901.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.3, jnp.ones(2), 5)
    >>> state, info = kernel.step(kernel.init(jnp.ones(2)), kernel.draw(jax.random.key(0)))
    >>> int(info.num_integration_steps)
    5
    """
    require_callable("logdensity_fn", logdensity_fn)
    step_size = require_positive("step_size", step_size)
    steps = num_integration_steps
    if not isinstance(steps, UniformSteps):
        steps = require_positive_int("num_integration_steps", steps)
    if not callable(getattr(integrator, "run", None)) or isinstance(integrator, type):
        raise TypeError(f"integrator must be such as pmc.Leapfrog(), got {integrator!r}")
    return HMC(
        as_partial(logdensity_fn),
        jnp.asarray(step_size),
        metric(inverse_mass_matrix),
        steps,
        require_gate(gate),
        integrator,
    )
