"""The Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_callable, require_positive
from parallel_mcmc._tree import PyTree, as_partial, pytree
from parallel_mcmc.kernels.gate import HARD_GATE, Gate, require_gate
from parallel_mcmc.kernels.gradient_kernel import GradientKernel
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.metropolis import Candidate, candidate
from parallel_mcmc.kernels.metropolis_kernel import Draw
from parallel_mcmc.kernels.whitened import Flat


@pytree
@dataclasses.dataclass(frozen=True)
class MALA(GradientKernel):
    """Metropolis-adjusted Langevin kernel; made by :func:`mala`."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    metric: Metric
    gate: Gate = HARD_GATE
    foresight: ClassVar[int] = 128

    def unit_gaussian(self, draw: Draw) -> tuple[jax.Array, jax.Array]:
        """``w' = (1 - ε) w + sqrt(2 ε) z``."""
        return 1 - self.step_size, jnp.sqrt(2 * self.step_size)

    def propose(self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: Draw) -> Candidate:
        """Propose ``w + ε grad + sqrt(2 ε) z``; the margin is of the asymmetric ratio."""
        step_size = jnp.asarray(self.step_size, state.position.dtype)
        drift = step_size * state.logdensity_grad
        proposal = evaluate(state.position + drift + jnp.sqrt(2 * step_size) * draw.normal)

        def energy(start: Flat, end: Flat) -> jax.Array:
            """Energy of ``end``, with the density of moving from it to ``start``."""
            back = start.position - end.position - step_size * end.logdensity_grad
            return -end.logdensity + 0.25 / step_size * jnp.dot(back, back, precision="highest")

        return candidate(proposal, draw.uniform, energy(proposal, state), energy(state, proposal))


def mala(
    logdensity_fn: Callable[[PyTree], jax.Array],
    step_size: float,
    inverse_mass_matrix: Any = None,
    *,
    gate: Gate = HARD_GATE,
) -> MALA:
    """Return a MALA kernel: ``q' = q + ε M⁻¹ ∇log π(q) + sqrt(2 ε) M^(-1/2) z``, then Metropolis.

    With the same keys and no inverse mass matrix it draws the chain of ``blackjax.mala``.

    Parameters
    ----------
    logdensity_fn
        Log density of a position, up to a constant: a scalar.
    step_size
        ``ε`` as BlackJAX has it, positive: the diffusion's time step, in units of the metric.
    inverse_mass_matrix
        Estimate of the posterior covariance, ``(D,)`` or ``(D, D)``; the identity by default. For
        many dimensions a :class:`LowRankMetric`.
    gate
        What the derivative of the accept decision is, for the models that differentiate the step;
        none by default.

    Returns
    -------
    MALA
        A kernel with ``init``, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``logdensity_fn`` is not callable, or ``gate`` is no gate.
    ValueError
        If ``step_size`` is not positive, or ``inverse_mass_matrix`` not positive definite.

    References
    ----------
    Roberts and Tweedie, Bernoulli 2(4), 1996.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    >>> state = kernel.init(jnp.ones(2))
    >>> state, info = kernel.step(state, kernel.draw(jax.random.key(0), state.position))
    >>> bool(info.is_accepted)
    True
    """
    require_callable("logdensity_fn", logdensity_fn)
    step_size = require_positive("step_size", step_size)
    return MALA(
        as_partial(logdensity_fn),
        jnp.asarray(step_size),
        metric(inverse_mass_matrix),
        require_gate(gate),
    )
