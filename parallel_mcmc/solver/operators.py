"""The linear operators ``A_t`` that a Jacobian model may return, one family a class.

An operator holds one matrix per time step and knows how to apply it, bound its norm, scale it, and
solve the affine recurrence it drives, exactly or inside a trust region. The Newton loop needs
nothing else, so that a diagonal model never touches a ``D x D`` array.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from parallel_mcmc.solver.kalman import dense_smoother, diagonal_smoother
from parallel_mcmc.solver.scans import (
    block_apply,
    block_product,
    block_scan,
    dense_scan,
    diagonal_scan,
    log_products,
    steady_scan,
)
from parallel_mcmc.solver.timeaxis import ONE_DEVICE, Scan, TimeAxis


class Operator(Protocol):
    """One linear map per time step."""

    def apply(self, v: jax.Array) -> jax.Array:
        """Return ``A_t v_t`` for every t, shape ``(T, D)``."""
        ...

    def norm(self) -> jax.Array:
        """Return an estimate of the spectral norm of each ``A_t``, shape ``(T,)``."""
        ...

    def scaled(self, factor: jax.Array) -> Operator:
        """Return ``factor_t A_t``; a factor of 0 gives 0 even if ``A_t`` is not finite."""
        ...

    def rescaled(self, scale: jax.Array) -> Operator:
        """Return ``S^-1 A_t S`` with ``S = diag(scale)``: the map in units of ``scale``."""
        ...

    def scan(self, b: jax.Array, scan: Scan | None = None) -> jax.Array:
        """Solve ``z_t = A_t z_{t-1} + b_t`` with ``z_0 = 0``, shape ``(T, D)``.

        The products of the maps are formed by ``scan``, by default as one device does it fastest;
        where ``scan`` returns the products before each map, the result is ``z_{t-1}``.
        """
        ...

    def steady(self, b: jax.Array) -> jax.Array:
        """Solve ``z_t = A z_{t-1} + b_t`` with the mean A of all ``A_t``, shape ``(T, D)``."""
        ...

    def smooth(self, b: jax.Array, weight: jax.Array | float) -> jax.Array:
        """Solve it in the least squares sense, with ``weight |z|²`` added: see ``kalman``."""
        ...

    def growth(self, known: jax.Array, axis: TimeAxis = ONE_DEVICE) -> jax.Array:
        """Return the mean growth of ``log |A_t … A_1|`` in one step, scalar.

        Only of the steps that are ``known``, shape ``(T,)``: of what is not finite it is not.
        """
        ...


class ZeroOperator(NamedTuple):
    """The zero map at every one of ``length`` steps."""

    length: int

    def apply(self, v: jax.Array) -> jax.Array:
        """Return zeros."""
        return jnp.zeros_like(v)

    def norm(self) -> jax.Array:
        """Return zeros, shape ``(T,)``."""
        return jnp.zeros(self.length)

    def scaled(self, factor: jax.Array) -> ZeroOperator:
        """Return the operator itself."""
        return self

    def rescaled(self, scale: jax.Array) -> ZeroOperator:
        """Return the operator itself."""
        return self

    def scan(self, b: jax.Array, scan: Scan | None = None) -> jax.Array:
        """Return ``b``: only a scan over devices has something to do."""
        return b if scan is None else scan(_later, b)

    def steady(self, b: jax.Array) -> jax.Array:
        """Return ``b``."""
        return b

    def smooth(self, b: jax.Array, weight: jax.Array | float) -> jax.Array:
        """Return ``b`` shortened by the factor ``1 + weight``."""
        return b / (1 + weight)

    def growth(self, known: jax.Array, axis: TimeAxis = ONE_DEVICE) -> jax.Array:
        """Return minus infinity."""
        return jnp.array(-jnp.inf)


class DiagonalOperator(NamedTuple):
    """Diagonal matrices ``(T, D)``, or ``(T, 1)`` for multiples of the identity."""

    diagonal: jax.Array

    def apply(self, v: jax.Array) -> jax.Array:
        """Multiply elementwise."""
        return self.diagonal * v

    def norm(self) -> jax.Array:
        """Return the largest absolute entry of each step, shape ``(T,)``."""
        return jnp.max(jnp.abs(self.diagonal), axis=-1)

    def scaled(self, factor: jax.Array) -> DiagonalOperator:
        """Scale each step's diagonal."""
        factor = factor[:, None]
        return DiagonalOperator(jnp.where(factor == 0, 0, self.diagonal * factor))

    def rescaled(self, scale: jax.Array) -> DiagonalOperator:
        """Return the operator itself: diagonal matrices commute."""
        return self

    def scan(self, b: jax.Array, scan: Scan | None = None) -> jax.Array:
        """Run the elementwise scan."""
        return diagonal_scan(self.diagonal, b, scan)

    def steady(self, b: jax.Array) -> jax.Array:
        """Run the elementwise scan."""
        mean = jnp.mean(self.diagonal, axis=0, keepdims=True)
        return steady_scan(mean, b, jnp.multiply, jnp.multiply)

    def smooth(self, b: jax.Array, weight: jax.Array | float) -> jax.Array:
        """Run the elementwise Kalman smoother."""
        return diagonal_smoother(self.diagonal, b, weight)

    def growth(self, known: jax.Array, axis: TimeAxis = ONE_DEVICE) -> jax.Array:
        """Return the growth of the fastest growing coordinate."""
        size = jnp.where(known[:, None], jnp.abs(self.diagonal), 1)
        total = _total(known, size.dtype, axis)
        return jnp.max(axis.mean(jnp.log(size))) * axis.size * len(size) / total


class BlockOperator(NamedTuple):
    """Matrices of 2 x 2 diagonal blocks, held as ``blocks`` of shape ``(T, 2, 2, D)``.

    The last axis may be 1: every coordinate then has the same 2 x 2 matrix.
    """

    blocks: jax.Array

    def apply(self, v: jax.Array) -> jax.Array:
        """Multiply each vector by its matrix."""
        return block_apply(self.blocks, v.reshape(len(v), 2, -1)).reshape(v.shape)

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

    def scan(self, b: jax.Array, scan: Scan | None = None) -> jax.Array:
        """Run the block scan: 8 products a coordinate and step."""
        return block_scan(self.blocks, b.reshape(len(b), 2, -1), scan).reshape(b.shape)

    def steady(self, b: jax.Array) -> jax.Array:
        """Run the scan of pairs."""
        mean = jnp.mean(self.blocks, axis=0, keepdims=True)
        halves = b.reshape(len(b), 2, -1)
        return steady_scan(mean, halves, block_apply, block_product).reshape(b.shape)

    def smooth(self, b: jax.Array, weight: jax.Array | float) -> jax.Array:
        """Run a Kalman smoother of 2 x 2 matrices for every coordinate."""
        halves = b.reshape(len(b), 2, -1)
        blocks = jnp.broadcast_to(self.blocks, (*self.blocks.shape[:3], halves.shape[-1]))
        smoother = jax.vmap(dense_smoother, in_axes=(-1, -1, None), out_axes=-1)
        return smoother(blocks, halves, weight).reshape(b.shape)

    def growth(self, known: jax.Array, axis: TimeAxis = ONE_DEVICE) -> jax.Array:
        """Return the growth of the fastest growing coordinate."""
        blocks = jnp.where(known[:, None, None, None], self.blocks, jnp.eye(2)[:, :, None])
        logs = jax.vmap(partial(log_products, scan=axis.product), in_axes=-1)(blocks)
        return jnp.max(logs) / _total(known, blocks.dtype, axis)


class DenseOperator(NamedTuple):
    """Full matrices, held as ``matrix`` of shape ``(T, D, D)``."""

    matrix: jax.Array

    def apply(self, v: jax.Array) -> jax.Array:
        """Multiply each vector by its matrix."""
        return jnp.einsum("tij,tj->ti", self.matrix, v, precision="highest")

    def norm(self) -> jax.Array:
        """Return a lower bound, tight in practice: eight power iterations on ``A'A``."""
        gram = jnp.einsum("tij,tik->tjk", self.matrix, self.matrix, precision="highest")
        power = _normalised(gram)
        # Squaring the matrix three times makes one product worth eight.
        for _ in range(3):
            power = _normalised(jnp.matmul(power, power, precision="highest"))
        column = jnp.argmax(jnp.sum(power**2, axis=1), axis=-1)
        v = jnp.take_along_axis(power, column[:, None, None], axis=2)[..., 0]
        length = jnp.linalg.norm(v, axis=-1)
        return jnp.linalg.norm(self.apply(v), axis=-1) / jnp.where(length > 0, length, 1)

    def scaled(self, factor: jax.Array) -> DenseOperator:
        """Scale each step's matrix."""
        factor = factor[:, None, None]
        return DenseOperator(jnp.where(factor == 0, 0, self.matrix * factor))

    def rescaled(self, scale: jax.Array) -> DenseOperator:
        """Scale columns up and rows down."""
        scale = jnp.broadcast_to(scale, self.matrix.shape[-1:])
        return DenseOperator(self.matrix * scale / scale[:, None])

    def scan(self, b: jax.Array, scan: Scan | None = None) -> jax.Array:
        """Run the dense scan: ``D³`` operations a step."""
        return dense_scan(self.matrix, b, scan)

    def steady(self, b: jax.Array) -> jax.Array:
        """Multiply by the powers of one matrix."""

        def apply(matrix: jax.Array, v: jax.Array) -> jax.Array:
            return jnp.matmul(v, matrix[0].T, precision="highest")

        def compose(first: jax.Array, second: jax.Array) -> jax.Array:
            return jnp.matmul(first, second, precision="highest")

        mean = jnp.mean(self.matrix, axis=0, keepdims=True)
        return steady_scan(mean, b, apply, compose)

    def smooth(self, b: jax.Array, weight: jax.Array | float) -> jax.Array:
        """Run the Kalman smoother: a few products and one inverse of ``D x D`` a step."""
        return dense_smoother(self.matrix, b, weight)

    def growth(self, known: jax.Array, axis: TimeAxis = ONE_DEVICE) -> jax.Array:
        """Return the growth of the whole product."""
        matrix = jnp.where(known[:, None, None], self.matrix, jnp.eye(self.matrix.shape[-1]))
        return log_products(matrix, axis.product) / _total(known, matrix.dtype, axis)


def _total(known: jax.Array, dtype: jnp.dtype, axis: TimeAxis) -> jax.Array:
    """Return how many steps of the window are known."""
    return axis.product(jnp.add, jnp.sum(known, keepdims=True, dtype=dtype))


def _later(first: jax.Array, second: jax.Array) -> jax.Array:
    return second


def _normalised(matrix: jax.Array) -> jax.Array:
    largest = jnp.max(jnp.abs(matrix), axis=(1, 2), keepdims=True)
    return matrix / jnp.where(largest > 0, largest, 1)
