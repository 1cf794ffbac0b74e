"""The Barker proposal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._errors import require_callable, require_positive
from parallel_mcmc._tree import PyTree, as_partial, pytree
from parallel_mcmc.kernels.gate import HARD_GATE, Gate, require_gate
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.metropolis import Candidate, TransitionInfo, candidate
from parallel_mcmc.kernels.metropolis_kernel import MetropolisKernel
from parallel_mcmc.kernels.whitened import Flat, picard_without_safeguards
from parallel_mcmc.solver.method import Newton


class BarkerDraw(NamedTuple):
    """The random numbers of one transition."""

    normal: jax.Array
    """Standard normal numbers, the increments but for their signs, shape ``(D,)``."""
    signs: jax.Array
    """Uniform numbers that choose the signs, shape ``(D,)``."""
    uniform: jax.Array
    """Uniform number of the accept step, scalar."""


@pytree
@dataclasses.dataclass(frozen=True)
class Barker(MetropolisKernel):
    """Barker kernel; made by :func:`barker`."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    metric: Metric
    gate: Gate = HARD_GATE

    def method(self, dim: int) -> Newton:
        """Return Picard iteration: exact as soon as all decisions, of signs too, are right."""
        return picard_without_safeguards()

    def draw_like(self, key: jax.Array, position: PyTree) -> BarkerDraw:
        """Draw from keys split as BlackJAX does, so that equal keys give equal chains."""
        leaves = jax.tree.leaves(position)
        vector = ravel_pytree(position)[0]
        key_sample, key_accept = jax.random.split(key)
        key_normal, key_signs = jax.random.split(key_sample)
        signs = [
            jax.random.uniform(k, jnp.shape(leaf), vector.dtype).ravel()
            for k, leaf in zip(jax.random.split(key_signs, len(leaves)), leaves, strict=True)
        ]
        return BarkerDraw(
            jax.random.normal(key_normal, vector.shape, vector.dtype),
            jnp.concatenate(signs),
            jax.random.uniform(key_accept, (), vector.dtype),
        )

    def propose(
        self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: BarkerDraw
    ) -> Candidate:
        """Propose ``w ± σ z``, each sign by the gradient; the margin is of the asymmetric ratio."""
        z = jnp.asarray(self.step_size, state.position.dtype) * draw.normal
        keep = draw.signs < jnp.exp(-jnp.logaddexp(0, -state.logdensity_grad * z))
        proposal = evaluate(state.position + jnp.where(keep, z, -z))

        def energy(start: Flat, end: Flat) -> jax.Array:
            """Energy of ``end``, with the density of moving from it to ``start``."""
            move = start.position - end.position
            return -end.logdensity + jnp.sum(jnp.logaddexp(0, -move * end.logdensity_grad))

        # An infinite gradient there may leave no trace in the energy.
        sound = jnp.isfinite(proposal.logdensity_grad).all()
        after = jnp.where(sound, energy(state, proposal), jnp.nan)
        return candidate(proposal, draw.uniform, energy(proposal, state), after)

    def transition(
        self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: BarkerDraw
    ) -> tuple[Flat, TransitionInfo]:
        """Propose, and accept or reject; the margin recorded is that of the nearest decision."""
        after, info = super().transition(evaluate, state, draw)
        # A sign is a decision too.
        z = jnp.asarray(self.step_size, state.position.dtype) * draw.normal
        threshold = jnp.log(draw.signs) - jnp.log1p(-draw.signs)
        nearest = jnp.min(jnp.abs(state.logdensity_grad * z - threshold))
        return after, info._replace(accept_margin=jnp.minimum(info.accept_margin, nearest))

    def surrogate(
        self, state: Flat, draw: BarkerDraw, next_state: Flat, info: TransitionInfo
    ) -> jax.Array:
        """Return 1, the Jacobian on any target: every branch shifts the state."""
        return jnp.ones((), state.position.dtype)


def barker(
    logdensity_fn: Callable[[PyTree], jax.Array],
    step_size: float,
    inverse_mass_matrix: Any = None,
    *,
    gate: Gate = HARD_GATE,
) -> Barker:
    """Return a Barker kernel: ``q' = q + M^(-1/2) b σ z``, then Metropolis.

    Each sign ``b = ±1`` follows the gradient with probability ``1 / (1 + exp(-σ z ∂log π))``, in
    whitened coordinates. The proposal is robust to a step size that does not fit.

    With the same keys and no inverse mass matrix it draws the chain of ``blackjax.barker``
    (BlackJAX 1.6 or newer; older ones draw all signs from one key). The recorded
    ``accept_margin`` is that of the nearest decision, a sign included.

    Parameters
    ----------
    logdensity_fn
        Log density of a position, up to a constant: a scalar.
    step_size
        ``σ``, standard deviation of the increments in units of the metric, positive.
    inverse_mass_matrix
        Estimate of the posterior covariance, ``(D,)`` or ``(D, D)``; the identity by default.
    gate
        What the derivative of the accept decision is, for the models that differentiate the step;
        none by default.

    Returns
    -------
    Barker
        A kernel with ``init``, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``logdensity_fn`` is not callable, or ``gate`` is no gate.
    ValueError
        If ``step_size`` is not positive, or ``inverse_mass_matrix`` not positive definite.

    References
    ----------
    Livingstone and Zanella, J. R. Stat. Soc. B 84, 2022, arXiv 1908.11812, algorithm 1.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.barker(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> state = kernel.init(jnp.ones(2))
    >>> state, info = kernel.step(state, kernel.draw(jax.random.key(0), state.position))
    >>> info.accept_margin.shape
    ()
    """
    require_callable("logdensity_fn", logdensity_fn)
    return Barker(
        as_partial(logdensity_fn),
        jnp.asarray(require_positive("step_size", step_size)),
        metric(inverse_mass_matrix),
        require_gate(gate),
    )
