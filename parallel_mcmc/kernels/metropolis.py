"""The Metropolis accept step and what it records.

A Metropolis kernel has two parts: a function that returns a :class:`Candidate`, the proposal and
its margin, both smooth in the state; and the one :func:`accept`, which is not.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.gate import HARD_GATE, Gate

DIVERGENCE_THRESHOLD = 1000.0


class Candidate(NamedTuple):
    """A proposal and how far it is from the accept threshold."""

    proposal: PyTree
    """The proposed state."""
    log_margin: jax.Array
    """``log α - log u``, with ``α`` not capped at 1: the proposal is accepted where it is
    positive. Minus infinity where ``α`` is infinite or not a number."""
    log_ratio: jax.Array
    """``log α``, not capped at 0; minus infinity where it is plus infinity or not a number."""
    energy: jax.Array
    """Energy of the proposal."""
    num_integration_steps: jax.Array
    """Evaluations of the log density that the proposal took."""


class TransitionInfo(NamedTuple):
    """Information about one transition, named as in BlackJAX."""

    acceptance_rate: jax.Array
    """Probability of accepting the proposal."""
    is_accepted: jax.Array
    """Whether it was accepted."""
    is_divergent: jax.Array
    """Whether the energy error exceeds 1000, or the energy is minus infinity or not a number."""
    energy: jax.Array
    """Energy of the proposal."""
    num_integration_steps: jax.Array
    """Evaluations of the log density of the transition."""
    accept_margin: jax.Array
    """``|log α - log u|``, with ``α`` not capped at 1: where it is below the rounding of the log
    density, the decision may differ between two evaluations in different order."""


def candidate(
    proposal: PyTree,
    uniform: jax.Array,
    initial_energy: jax.Array,
    energy: jax.Array,
    num_integration_steps: jax.Array | int = 1,
) -> Candidate:
    """Return the candidate of a proposal.

    Parameters
    ----------
    proposal
        The proposed state.
    uniform
        The random number of the decision, uniform on [0, 1).
    initial_energy, energy
        Energies of the state and of the proposal, with the density of the moves between them:
        ``log α`` is their difference.
    num_integration_steps
        Evaluations of the log density that the proposal took.
    """
    log_ratio = initial_energy - energy
    # Neither what is no number nor an infinite density may enter the chain, which it would not
    # leave again. The start is finite, so that an infinite ratio comes from the proposal.
    log_ratio = jnp.where(log_ratio < jnp.inf, log_ratio, -jnp.inf)
    # A uniform number of 0 would make a margin of -inf + inf where the ratio is 0.
    threshold = jnp.log(jnp.maximum(uniform, jnp.finfo(uniform.dtype).tiny))
    return Candidate(
        proposal, log_ratio - threshold, log_ratio, energy, jnp.asarray(num_integration_steps)
    )


def accept(
    state: PyTree, candidate: Candidate, gate: Gate = HARD_GATE
) -> tuple[PyTree, TransitionInfo]:
    """Choose between ``state`` and the candidate, by the sign of its margin.

    Parameters
    ----------
    state
        The state before the transition.
    candidate
        The proposal, of the same structure, and its margin.
    gate
        What the derivative of the decision is.

    Returns
    -------
    The next state, and the record of the transition.
    """
    accepted = candidate.log_margin > 0
    chosen = gate.choose(candidate.log_margin, candidate.proposal, state)
    return chosen, TransitionInfo(
        acceptance_rate=jnp.minimum(jnp.exp(candidate.log_ratio), 1),
        is_accepted=accepted,
        is_divergent=~(-candidate.log_ratio <= DIVERGENCE_THRESHOLD),
        energy=candidate.energy,
        num_integration_steps=candidate.num_integration_steps,
        accept_margin=jnp.abs(candidate.log_margin),
    )
