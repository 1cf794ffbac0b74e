"""Block-diagonal Jacobians for states of two halves, such as position and momentum.

Coordinates are ``[x; v]`` of shape ``(2 D,)``; every coordinate of the one half is coupled with the
same coordinate of the other by a 2 x 2 matrix, and with nothing else: block quasi-DEER
(arXiv 2508.18413, section 3.4).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import STATIC, num_steps, pytree
from parallel_mcmc.solver.jacobian import Linearisation
from parallel_mcmc.solver.kalman import dense_smoother
from parallel_mcmc.solver.scans import log_products


def block_scan(a: jax.Array, b: jax.Array) -> jax.Array:
    """Solve ``z_t = a_t z_{t-1} + b_t`` for pairs.

    Parameters
    ----------
    a
        Shape ``(T, 2, 2, D)``, or ``(T, 2, 2, 1)`` where all coordinates share their matrix.
    b
        Shape ``(T, 2, D)``.

    Returns
    -------
    jax.Array
        ``z_1 … z_T``, shape ``(T, 2, D)``.
    """

    def compose(first, second):
        (a1, b1), (a2, b2) = first, second
        return _times(a2, a1), _apply(a2, b1) + b2

    return jax.lax.associative_scan(compose, (a, b))[1]


def _times(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a[:, :, :, None] * b[:, None, :, :], axis=2)


def _apply(a: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.sum(a * v[:, None], axis=2)


class BlockOperator(NamedTuple):
    """Matrices of 2 x 2 diagonal blocks, held as ``blocks`` of shape ``(T, 2, 2, D)``.

    The last axis may be 1: every coordinate then has the same 2 x 2 matrix.
    """

    blocks: jax.Array

    def apply(self, v: jax.Array) -> jax.Array:
        """Multiply each vector by its matrix."""
        return _apply(self.blocks, v.reshape(len(v), 2, -1)).reshape(v.shape)

    def norm(self) -> jax.Array:
        """Return the spectral norm: the largest of the 2 x 2 matrices', shape ``(T,)``."""
        (a, b), (c, d) = jnp.moveaxis(self.blocks, 0, 2)
        largest = jnp.hypot(a + d, c - b) + jnp.hypot(a - d, c + b)
        return jnp.max(0.5 * largest, axis=-1)

    def scaled(self, factor: jax.Array) -> BlockOperator:
        """Scale each step's matrix."""
        factor = factor[:, None, None, None]
        return BlockOperator(jnp.where(factor == 0, 0, self.blocks * factor))

    def rescaled(self, scale: jax.Array) -> BlockOperator:
        """Scale columns up and rows down."""
        if jnp.size(scale) == 1:
            return self
        halves = scale.reshape(2, -1)
        return BlockOperator(self.blocks * halves / halves[:, None])

    def scan(self, b: jax.Array) -> jax.Array:
        """Run the block scan: 8 products a coordinate and step."""
        return block_scan(self.blocks, b.reshape(len(b), 2, -1)).reshape(b.shape)

    def smooth(self, b: jax.Array, weight: jax.Array | float) -> jax.Array:
        """Run a Kalman smoother of 2 x 2 matrices for every coordinate."""
        halves = b.reshape(len(b), 2, -1)
        blocks = jnp.broadcast_to(self.blocks, (*self.blocks.shape[:3], halves.shape[-1]))
        smoother = jax.vmap(dense_smoother, in_axes=(-1, -1, None), out_axes=-1)
        return smoother(blocks, halves, weight).reshape(b.shape)

    def growth(self) -> jax.Array:
        """Return the growth of the fastest growing coordinate."""
        logs = jax.vmap(log_products, in_axes=-1, out_axes=-1)(self.blocks)
        return jnp.max(logs[-1]) / len(self.blocks)


@pytree
@dataclasses.dataclass(frozen=True)
class BlockDiagonal:
    """``A_t`` has the 2 x 2 diagonal blocks of the Jacobian: block quasi-DEER.

    Parameters
    ----------
    probes
        Number of Hutchinson probes ``v = ±1`` for each half, redrawn every iteration.
    seed
        Seed of the probes.

    Raises
    ------
    ValueError
        If ``probes`` is not a positive integer.
    """

    exact: ClassVar[bool] = False

    probes: int = dataclasses.field(default=1, metadata=STATIC)
    seed: int = dataclasses.field(default=0, metadata=STATIC)

    def __post_init__(self) -> None:
        if not isinstance(self.probes, int) or self.probes < 1:
            raise ValueError(f"probes must be a positive integer, got {self.probes!r}")

    def evaluations(self, dim: int) -> int:
        """Return 1 and one for every Jacobian-vector product."""
        return 1 + 2 * self.probes

    def linearise(self, recurrence, states, inputs, iteration) -> Linearisation:
        """Evaluate the steps and their Jacobian-vector products in one batch."""
        x = jax.vmap(recurrence.chart.coordinates)(states)

        def batch(x):
            return recurrence.lifted_steps(x, states, inputs)

        _, jvp, (values, aux) = jax.linearize(batch, x, has_aux=True)
        half = x.shape[-1] // 2
        key = jax.random.fold_in(jax.random.key(self.seed), iteration)
        signs = jax.random.rademacher(key, (self.probes, len(x), half), x.dtype)

        def columns(sign: jax.Array) -> jax.Array:
            zero = jnp.zeros_like(sign)
            probes = jnp.stack([jnp.concatenate(p, -1) for p in ((sign, zero), (zero, sign))])
            images = jax.vmap(jvp)(probes).reshape(2, len(x), 2, half)
            return images * sign[None, :, None]

        # (probe, column, time, row, D) -> (time, row, column, D)
        blocks = jnp.mean(jax.vmap(columns)(signs), axis=0).transpose(1, 2, 0, 3)
        return Linearisation(values, aux, BlockOperator(blocks))


@pytree
@dataclasses.dataclass(frozen=True)
class BlockSurrogate:
    """``A_t`` from the recurrence's own model, which returns blocks ``(2, 2, D)``."""

    exact: ClassVar[bool] = False

    def evaluations(self, dim: int) -> int:
        """Return 1."""
        return 1

    def linearise(self, recurrence, states, inputs, iteration) -> Linearisation:
        """Evaluate the steps, then the model at what they returned."""
        x = jax.vmap(recurrence.chart.coordinates)(states)
        values, aux = recurrence.lifted_steps(x, states, inputs)[1]
        if recurrence.surrogate is None:
            raise ValueError("method: BlockSurrogate() needs a recurrence that has such a model")
        blocks = jax.vmap(recurrence.surrogate)(states, inputs, values, aux)
        if blocks.shape[:3] != (num_steps(inputs), 2, 2):
            raise ValueError(
                "method: BlockSurrogate() needs a model that returns blocks (2, 2, D), got "
                f"{blocks.shape[1:]}"
            )
        return Linearisation(values, aux, BlockOperator(blocks.astype(x.dtype)))
