"""Gates: what the derivative of an accept decision is.

The decision itself is the same whatever the gate, and so is the chain. A gate only changes what a
Jacobian model that differentiates the step (:class:`~parallel_mcmc.Dense`,
:class:`~parallel_mcmc.Diagonal`) sees of it.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_positive
from parallel_mcmc._tree import PyTree, pytree


class Gate(Protocol):
    """Chooses between a state and a proposal."""

    def choose(self, log_margin: jax.Array, proposal: PyTree, state: PyTree) -> PyTree:
        """Return ``proposal`` where ``log_margin`` is positive, else ``state``."""
        ...


def choose_hard(log_margin: jax.Array, proposal: PyTree, state: PyTree) -> PyTree:
    """Return ``proposal`` where ``log_margin`` is positive, else ``state``."""
    return jax.tree.map(lambda new, old: jnp.where(log_margin > 0, new, old), proposal, state)


@pytree
@dataclasses.dataclass(frozen=True)
class HardGate:
    """The decision has no derivative: the step's is that of the branch taken."""

    def choose(self, log_margin: jax.Array, proposal: PyTree, state: PyTree) -> PyTree:
        """Return ``proposal`` where ``log_margin`` is positive, else ``state``."""
        return choose_hard(log_margin, proposal, state)


HARD_GATE = HardGate()


@pytree
@dataclasses.dataclass(frozen=True)
class SmoothGate:
    """The decision is differentiated as a sigmoid of the margin: a straight-through gradient.

    The chosen state is ``s + g (s' - s)`` with the hard gate ``g``, 0 or 1, and its derivative
    takes ``dg = σ'(margin / temperature) dmargin / temperature`` (arXiv 2508.18413, section 3.1).

    Parameters
    ----------
    temperature
        Width of the sigmoid in units of the log acceptance ratio, positive.

    Raises
    ------
    ValueError
        If ``temperature`` is not positive.

    Examples
    --------
    >>> import jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.3, gate=pmc.SmoothGate(0.5))
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    def choose(self, log_margin: jax.Array, proposal: PyTree, state: PyTree) -> PyTree:
        """Return ``proposal`` where ``log_margin`` is positive, else ``state``."""
        soft = jax.nn.sigmoid(log_margin / self.temperature)
        # Zero, with the derivative of the sigmoid.
        ghost = jnp.where(jnp.isfinite(log_margin), soft - jax.lax.stop_gradient(soft), 0)

        def push(chosen: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
            if not jnp.issubdtype(chosen.dtype, jnp.floating):
                return chosen
            difference = jax.lax.stop_gradient(new - old)
            return chosen + ghost * jnp.where(jnp.isfinite(difference), difference, 0)

        return jax.tree.map(push, choose_hard(log_margin, proposal, state), proposal, state)


def require_gate(gate: Gate) -> Gate:
    """Return ``gate``; raises TypeError if it is none."""
    if not callable(getattr(gate, "choose", None)) or isinstance(gate, type):
        raise TypeError(f"gate must be pmc.HardGate() or pmc.SmoothGate(...), got {gate!r}")
    return gate
