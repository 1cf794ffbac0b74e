"""Hamiltonian Monte Carlo with a fixed number of leapfrog steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_callable, require_positive, require_positive_int
from parallel_mcmc._tree import STATIC, PyTree, as_partial, pytree
from parallel_mcmc.kernels.base import Flat
from parallel_mcmc.kernels.gradient_kernel import Draw, GradientKernel
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.metropolis import Candidate, candidate


@pytree
@dataclasses.dataclass(frozen=True)
class HMC(GradientKernel):
    """Hamiltonian Monte Carlo kernel; made by :func:`hmc`."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    metric: Metric
    num_integration_steps: int = dataclasses.field(metadata=STATIC)

    @property
    def gradients_per_step(self) -> int:
        """One gradient every leapfrog step: the first one is carried by the state."""
        return self.num_integration_steps

    def split_key(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Split as BlackJAX does, so that equal keys give equal chains."""
        key_momentum, key_integrator = jax.random.split(key)
        return key_momentum, key_integrator

    def unit_gaussian(self) -> tuple[jax.Array, jax.Array]:
        """First row of the leapfrog matrix to the power of the number of steps."""
        step_size = self.step_size
        half = 1 - 0.5 * step_size**2
        leapfrog = jnp.array([[half, step_size], [-step_size * (1 - 0.25 * step_size**2), half]])
        row = jnp.linalg.matrix_power(leapfrog, self.num_integration_steps)[0]
        return row[0], row[1]

    def propose(self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: Draw) -> Candidate:
        """Integrate by leapfrog with unit mass; the margin is that of the energy difference."""
        step_size = jnp.asarray(self.step_size, state.position.dtype)

        def leapfrog(_: int, carry: tuple[Flat, jax.Array]) -> tuple[Flat, jax.Array]:
            state, momentum = carry
            momentum = momentum + 0.5 * step_size * state.logdensity_grad
            state = evaluate(state.position + step_size * momentum)
            return state, momentum + 0.5 * step_size * state.logdensity_grad

        proposal, momentum = jax.lax.fori_loop(
            0, self.num_integration_steps, leapfrog, (state, draw.normal)
        )
        return candidate(
            proposal,
            draw.uniform,
            _energy(state, draw.normal),
            _energy(proposal, momentum),
            self.num_integration_steps,
        )


def _energy(state: Flat, momentum: jax.Array) -> jax.Array:
    return -state.logdensity + 0.5 * jnp.dot(momentum, momentum, precision="highest")


def hmc(
    logdensity_fn: Callable[[PyTree], jax.Array],
    step_size: float,
    inverse_mass_matrix: Any,
    num_integration_steps: int,
) -> HMC:
    """Return an HMC kernel with velocity Verlet integration and an endpoint Metropolis test.

    With the same keys it draws the chain of ``blackjax.hmc``.

    Parameters
    ----------
    logdensity_fn
        Log density of a position, up to a constant: a scalar.
    step_size
        Leapfrog step size, positive, in units of the metric.
    inverse_mass_matrix
        Estimate of the posterior covariance, ``(D,)`` or ``(D, D)``; None for the identity.
    num_integration_steps
        Leapfrog steps of one transition.

    Returns
    -------
    HMC
        A kernel with ``init``, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``logdensity_fn`` is not callable.
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
    steps = require_positive_int("num_integration_steps", num_integration_steps)
    return HMC(
        as_partial(logdensity_fn), jnp.asarray(step_size), metric(inverse_mass_matrix), steps
    )
