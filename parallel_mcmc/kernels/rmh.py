"""Random-walk Metropolis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_callable, require_positive
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import PyTree, as_partial, pytree
from parallel_mcmc.kernels.base import DensityState, checked_position, require_finite_density
from parallel_mcmc.kernels.gate import HARD_GATE, Gate, require_gate
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.metropolis import Candidate, TransitionInfo, candidate
from parallel_mcmc.kernels.metropolis_kernel import Draw, MetropolisKernel
from parallel_mcmc.kernels.whitened import (
    DensityTarget,
    FlatDensity,
    picard_without_safeguards,
)
from parallel_mcmc.solver.method import Newton


@pytree
@dataclasses.dataclass(frozen=True)
class RMH(MetropolisKernel):
    """Random-walk Metropolis kernel; made by :func:`rmh`."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    metric: Metric
    gate: Gate = HARD_GATE

    def method(self, dim: int) -> Newton:
        """Return Picard iteration: exact as soon as the accept decisions are right."""
        return picard_without_safeguards()

    @full_precision()
    def init(self, position: PyTree, key: jax.Array | None = None) -> DensityState:
        """Return the state at ``position``; raises ValueError if it cannot start there."""
        position = checked_position(self.logdensity_fn, position)
        value = self.logdensity_fn(position)
        require_finite_density(value)
        return DensityState(position, value)

    @full_precision()
    def move(self, state: DensityState, position: PyTree) -> DensityState:
        """Return the state at another position, at one evaluation."""
        return DensityState(position, self.logdensity_fn(position))

    def target(self, position: PyTree) -> DensityTarget:
        """Return the log density in whitened coordinates."""
        return DensityTarget(self.logdensity_fn, self.metric, position)

    def propose(
        self, evaluate: Callable[[jax.Array], FlatDensity], state: FlatDensity, draw: Draw
    ) -> Candidate:
        """Propose ``w + ε z``; the margin is that of the density ratio."""
        step_size = jnp.asarray(self.step_size, state.position.dtype)
        proposal = evaluate(state.position + step_size * draw.normal)
        return candidate(proposal, draw.uniform, -state.logdensity, -proposal.logdensity)

    def transition(
        self, evaluate: Callable[[jax.Array], FlatDensity], state: FlatDensity, draw: Draw
    ) -> tuple[FlatDensity, TransitionInfo]:
        """Propose, and accept or reject.

        A proposal into the tails or out of the support is an ordinary rejection: a random walk has
        no error of integration. Divergent is a log density that is no number, or infinite.
        """
        after, info = super().transition(evaluate, state, draw)
        # The energy is that of the proposal: minus its log density.
        return after, info._replace(is_divergent=~(info.energy > -jnp.inf))

    def surrogate(
        self, state: FlatDensity, draw: Draw, next_state: FlatDensity, info: TransitionInfo
    ) -> jax.Array:
        """Return 1, the Jacobian on any target: both branches shift the state."""
        return jnp.ones((), state.position.dtype)


def rmh(
    logdensity_fn: Callable[[PyTree], jax.Array],
    step_size: float,
    inverse_mass_matrix: Any = None,
    *,
    gate: Gate = HARD_GATE,
) -> RMH:
    """Return a random-walk Metropolis kernel: ``q' = q + ε M^(-1/2) z``, then Metropolis.

    With the same keys it draws the chain of
    ``blackjax.additive_step_random_walk.normal_random_walk(logdensity_fn, sigma)``, where
    ``sigma`` is ``ε`` times the square root of the inverse mass matrix.

    In parallel it is solved by Picard iteration: an iterate is exact up to the first accept
    decision that it has wrong (arXiv 2506.09762).

    Parameters
    ----------
    logdensity_fn
        Log density of a position, up to a constant: a scalar. It is not differentiated.
    step_size
        ``ε``, standard deviation of the proposal in units of the metric, positive.
    inverse_mass_matrix
        Estimate of the posterior covariance, ``(D,)`` or ``(D, D)``; the identity by default.
    gate
        What the derivative of the accept decision is, for the models that differentiate the step;
        none by default.

    Returns
    -------
    RMH
        A kernel with ``init``, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``logdensity_fn`` is not callable, or ``gate`` is no gate.
    ValueError
        If ``step_size`` is not positive, or ``inverse_mass_matrix`` not positive definite.

    References
    ----------
    Metropolis et al., J. Chem. Phys. 21, 1953.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.rmh(lambda x: -jnp.sum(jnp.abs(x)), 0.5)
    >>> samples = pmc.sample(jax.random.key(0), kernel, jnp.zeros(2), 100, progress_bar=False)
    >>> samples.info.is_accepted.shape
    (1, 100)
    """
    require_callable("logdensity_fn", logdensity_fn)
    return RMH(
        as_partial(logdensity_fn),
        jnp.asarray(require_positive("step_size", step_size)),
        metric(inverse_mass_matrix),
        require_gate(gate),
    )
