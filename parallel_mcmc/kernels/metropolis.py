"""The Metropolis accept step and what it records."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree

DIVERGENCE_THRESHOLD = 1000.0


class TransitionInfo(NamedTuple):
    """Information about one transition, named as in BlackJAX."""

    acceptance_rate: jax.Array
    """Probability of accepting the proposal."""
    is_accepted: jax.Array
    """Whether it was accepted."""
    is_divergent: jax.Array
    """Whether the energy error exceeds 1000, or is not a number."""
    energy: jax.Array
    """Energy of the proposal."""
    num_integration_steps: jax.Array
    """Gradient evaluations of the transition."""
    accept_margin: jax.Array
    """``|log α - log u|``: where it is below the rounding of the log density, the decision may
    differ between two evaluations in different order."""


def accept(
    uniform: jax.Array,
    initial_energy: jax.Array,
    energy: jax.Array,
    state: PyTree,
    proposal: PyTree,
) -> tuple[PyTree, jax.Array, jax.Array, jax.Array]:
    """Choose between ``state`` and ``proposal``.

    Parameters
    ----------
    uniform
        The random number, uniform on [0, 1).
    initial_energy, energy
        Energies of the state and of the proposal; a difference that is not a number rejects.

    Returns
    -------
    The next state, the acceptance probability, the decision, and its margin.
    """
    difference = initial_energy - energy
    difference = jnp.where(jnp.isnan(difference), -jnp.inf, difference)
    probability = jnp.minimum(jnp.exp(difference), 1)
    accepted = uniform < probability
    chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposal, state)
    margin = jnp.abs(jnp.minimum(difference, 0) - jnp.log(uniform))
    return chosen, probability, accepted, margin


def is_divergent(initial_energy: jax.Array, energy: jax.Array) -> jax.Array:
    """Whether the energy grew by more than the threshold, or is not a number."""
    return ~(energy - initial_energy <= DIVERGENCE_THRESHOLD)
