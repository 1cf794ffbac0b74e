"""Microcanonical Hamiltonian Monte Carlo with a Metropolis test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._errors import require_callable, require_positive, require_positive_int
from parallel_mcmc._tree import STATIC, PyTree, as_partial, pytree
from parallel_mcmc.kernels.base import GradientState
from parallel_mcmc.kernels.gate import HARD_GATE, Gate, require_gate
from parallel_mcmc.kernels.gradient_kernel import GradientKernel
from parallel_mcmc.kernels.isokinetic import isokinetic_step, unit
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.metropolis import Candidate, candidate
from parallel_mcmc.kernels.metropolis_kernel import Draw
from parallel_mcmc.kernels.whitened import Flat


@pytree
@dataclasses.dataclass(frozen=True)
class AdjustedMCLMC(GradientKernel):
    """Adjusted microcanonical kernel; made by :func:`adjusted_mclmc`."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    metric: Metric
    num_integration_steps: int = dataclasses.field(metadata=STATIC)
    gate: Gate = HARD_GATE

    @property
    def gradients_per_step(self) -> int:
        """The minimal-norm integrator takes two a step."""
        return 2 * self.num_integration_steps

    def init(self, position: PyTree, key: jax.Array | None = None) -> GradientState:
        """Return the state at ``position``; raises ValueError if it cannot start there."""
        if ravel_pytree(position)[0].size < 2:
            raise ValueError("initial_position must have at least 2 dimensions for MCLMC, got 1")
        return super().init(position, key)

    def split_key(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Split as BlackJAX does, so that equal keys give equal chains."""
        key_momentum, key_uniform = jax.random.split(key)
        # One split a step, for refreshments that are not made here.
        steps = self.num_integration_steps
        return key_momentum, jax.lax.fori_loop(
            0, steps, lambda _, k: jax.random.split(k)[1], key_uniform
        )

    def unit_gaussian(self, draw: Draw) -> tuple[jax.Array, jax.Array]:
        """Return a rotation: see :class:`~parallel_mcmc.kernels.mclmc.MCLMC`."""
        angle = self.num_integration_steps * self.step_size / math.sqrt(draw.normal.size)
        return jnp.cos(angle), jnp.sin(angle)

    def propose(self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: Draw) -> Candidate:
        """Integrate from a random direction; the margin is that of the energy difference."""
        step_size = jnp.asarray(self.step_size, state.position.dtype)

        def body(_: jax.Array, now: tuple) -> tuple:
            state, momentum, kinetic = now
            state, momentum, change = isokinetic_step(evaluate, state, momentum, step_size)
            return state, momentum, kinetic + change

        start = (state, unit(draw.normal), jnp.zeros_like(state.logdensity))
        proposal, _, kinetic = jax.lax.fori_loop(0, self.num_integration_steps, body, start)
        energy = kinetic - proposal.logdensity
        return candidate(
            proposal, draw.uniform, -state.logdensity, energy, self.num_integration_steps
        )


def adjusted_mclmc(
    logdensity_fn: Callable[[PyTree], jax.Array],
    step_size: float,
    inverse_mass_matrix: Any,
    num_integration_steps: int,
    *,
    gate: Gate = HARD_GATE,
) -> AdjustedMCLMC:
    """Return a kernel of microcanonical Hamiltonian Monte Carlo with a Metropolis test.

    The momentum is a new random direction in every transition, and is not refreshed within. With
    the same keys and a diagonal inverse mass matrix it draws the chain of
    ``blackjax.adjusted_mclmc`` with its defaults.

    Parameters
    ----------
    logdensity_fn
        Log density of a position of at least two dimensions, up to a constant: a scalar.
    step_size
        Path length of one integration step, positive, in units of the metric.
    inverse_mass_matrix
        Estimate of the posterior covariance, ``(D,)`` or ``(D, D)``; None for the identity.
    num_integration_steps
        Integration steps of one transition, of two gradients each.
    gate
        What the derivative of the accept decision is, for the models that differentiate the step;
        none by default.

    Returns
    -------
    AdjustedMCLMC
        A kernel with ``init``, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``logdensity_fn`` is not callable, or ``gate`` is no gate.
    ValueError
        If ``step_size`` or ``num_integration_steps`` is not positive, or ``inverse_mass_matrix``
        not positive definite.

    References
    ----------
    Robnik, Cohn-Gordon and Seljak, Metropolis adjusted microcanonical Hamiltonian Monte Carlo,
    arXiv 2503.01707.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.adjusted_mclmc(lambda x: -0.5 * jnp.sum(x**2), 0.5, None, 4)
    >>> state = kernel.init(jnp.ones(3))
    >>> state, info = kernel.step(state, kernel.draw(jax.random.key(0), state.position))
    >>> int(info.num_integration_steps)
    4
    """
    require_callable("logdensity_fn", logdensity_fn)
    return AdjustedMCLMC(
        as_partial(logdensity_fn),
        jnp.asarray(require_positive("step_size", step_size)),
        metric(inverse_mass_matrix),
        require_positive_int("num_integration_steps", num_integration_steps),
        require_gate(gate),
    )
