"""Affine recurrences ``z_t = A_t z_{t-1} + b_t`` (``z_0 = 0``), solved by associative scans.

The operators of one family are closed under composition, which is what makes the recurrence
associative: depth ``log2(T)`` instead of ``T`` (Blelloch 1990; arXiv 2309.12252, section 3).
Everything is time-major: the leading axis is time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from parallel_mcmc.solver.timeaxis import Scan

Product = Callable[[jax.Array, jax.Array], jax.Array]


def diagonal_scan(a: jax.Array, b: jax.Array, scan: Scan = jax.lax.associative_scan) -> jax.Array:
    """Solve ``z_t = a_t * z_{t-1} + b_t`` elementwise.

    Parameters
    ----------
    a, b
        Shape ``(T, D)``.
    scan
        What forms the products of the maps; :mod:`parallel_mcmc.solver.timeaxis` has another one
        for many devices.

    Returns
    -------
    jax.Array
        ``z_1 … z_T``, shape ``(T, D)``.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> diagonal_scan(jnp.full((3, 1), 0.5), jnp.ones((3, 1))).ravel()
    Array([1.  , 1.5 , 1.75], dtype=float32)
    """

    def compose(first, second):
        (a1, b1), (a2, b2) = first, second
        return a2 * a1, a2 * b1 + b2

    return scan(compose, (a, b))[1]


def dense_scan(a: jax.Array, b: jax.Array, scan: Scan = jax.lax.associative_scan) -> jax.Array:
    """Solve ``z_t = a_t @ z_{t-1} + b_t``.

    Parameters
    ----------
    a
        Shape ``(T, D, D)``.
    b
        Shape ``(T, D)``.

    Returns
    -------
    jax.Array
        ``z_1 … z_T``, shape ``(T, D)``.
    """

    def compose(first, second):
        (a1, b1), (a2, b2) = first, second
        a12 = jnp.matmul(a2, a1, precision="highest")
        return a12, jnp.einsum("tij,tj->ti", a2, b1, precision="highest") + b2

    return scan(compose, (a, b))[1]


def block_scan(a: jax.Array, b: jax.Array, scan: Scan = jax.lax.associative_scan) -> jax.Array:
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
        return block_product(a2, a1), block_apply(a2, b1) + b2

    return scan(compose, (a, b))[1]


def steady_scan(a: jax.Array, b: jax.Array, apply: Product, compose: Product) -> jax.Array:
    """Solve ``z_t = a z_{t-1} + b_t`` with one operator for all t: only its powers are multiplied.

    Parameters
    ----------
    a
        The operator, leading axis 1.
    b
        Shape ``(T, ...)``.
    apply, compose
        ``apply(a, v)`` for v of the shape of b, and the product of two operators.

    Returns
    -------
    jax.Array
        ``z_1 … z_T``, of the shape of b.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> half = jnp.full((1, 1), 0.5)
    >>> steady_scan(half, jnp.ones((3, 1)), jnp.multiply, jnp.multiply).ravel()
    Array([1.  , 1.5 , 1.75], dtype=float32)
    """
    shift = 1
    while shift < len(b):
        earlier = jnp.concatenate([jnp.zeros_like(b[:shift]), b[:-shift]])
        b = b + apply(a, earlier)
        a = compose(a, a)
        shift *= 2
    return b


def block_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiply matrices of 2 x 2 diagonal blocks, shape ``(T, 2, 2, D)``."""
    return jnp.sum(a[:, :, :, None] * b[:, None, :, :], axis=2)


def block_apply(a: jax.Array, v: jax.Array) -> jax.Array:
    """Multiply pairs of shape ``(T, 2, D)`` by such matrices."""
    return jnp.sum(a * v[:, None], axis=2)


def log_products(matrices: jax.Array, scan: Scan = jax.lax.associative_scan) -> jax.Array:
    """Return the logarithms of the sizes of ``A_t … A_1``, shape ``(T,)``.

    The size is the Frobenius norm relative to that of the identity, whose products do not grow.

    Parameters
    ----------
    matrices
        Shape ``(T, D, D)``.
    scan
        What forms the products; one that forms the last one only makes the result a scalar.
    """

    def unit(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
        norm = jnp.linalg.norm(matrix, axis=(-2, -1))
        safe = jnp.where(norm > 0, norm, 1)
        return matrix / safe[..., None, None], jnp.log(norm)

    def compose(first: tuple, second: tuple) -> tuple:
        matrix, log = unit(jnp.matmul(second[0], first[0], precision="highest"))
        return matrix, log + first[1] + second[1]

    logs = scan(compose, unit(matrices))[1]
    return logs - 0.5 * math.log(matrices.shape[-1])
