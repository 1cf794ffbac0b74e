"""What a Jacobian model returns, and how the derivative of every step is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree
from parallel_mcmc.solver.batches import in_blocks
from parallel_mcmc.solver.operators import Operator
from parallel_mcmc.solver.recurrence import Recurrence

Product = Callable[[jax.Array], jax.Array]


class Linearisation(NamedTuple):
    """Steps evaluated at ``states`` and a model of their derivative."""

    states: PyTree
    aux: PyTree
    operator: Operator
    products: tuple[Product, ...] = ()
    """Products with the Jacobian itself, ``(T, D) -> (T, D)``, one for each refinement of the
    linear solve that the model asks for."""


def linearised(
    recurrence: Recurrence, read: Callable[..., PyTree], states: PyTree, inputs: PyTree, *more: Any
) -> tuple[PyTree, PyTree, PyTree]:
    """Evaluate every step and what is read of its derivative.

    Returns the next states, what the steps recorded, and ``read(jvp, coordinates, *more)`` of
    every step, where ``jvp`` multiplies a vector by the Jacobian; all with leading axis T.
    """

    def of_step(state: PyTree, value: PyTree, *more: Any) -> tuple:
        x = recurrence.chart.coordinates(state)
        _, jvp, (next_state, aux) = jax.linearize(
            lambda x: recurrence.straight.lifted_step(x, state, value), x, has_aux=True
        )
        return next_state, aux, read(jvp, x, *more)

    return in_blocks(of_step, states, inputs, *more)


def sign_bits(key: jax.Array, shape: tuple[int, ...], dim: int) -> jax.Array:
    """Draw the bits of random signs, ``dim`` for each entry of ``shape``, as 32-bit words.

    JAX's own signs take 32 bits each, so six arrays of their shape as it draws them.
    """
    return jax.random.bits(key, (*shape, -(-dim // 32)), jnp.uint32)


def signs_of(bits: jax.Array, dim: int, dtype: Any) -> jax.Array:
    """Return numbers that are 1 or -1, shape ``(..., dim)``, by bits of shape ``(..., words)``."""
    ones = bits[..., None] >> jnp.arange(32, dtype=jnp.uint32) & 1
    return 1 - 2 * ones.reshape(*bits.shape[:-1], -1)[..., :dim].astype(dtype)
