"""Affine recurrences ``z_t = A_t z_{t-1} + b_t`` (``z_0 = 0``), solved as the device does best.

The operators of one family are closed under composition, which is what makes the recurrence
associative: depth ``log2(T)`` instead of ``T`` (Blelloch 1990; arXiv 2309.12252, section 3). That
is what an accelerator wants. It takes more work than the plain loop and writes every level to
memory; a CPU has nothing to do it with at once, and runs the loop four to twenty times as fast.
Everything is time-major: the leading axis is time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from parallel_mcmc.solver.timeaxis import Scan

Product = Callable[[jax.Array, jax.Array], jax.Array]


def _affine_scan(
    product: Product, apply: Product, a: jax.Array, b: jax.Array, scan: Scan | None
) -> jax.Array:
    """Solve ``z_t = a_t z_{t-1} + b_t``.

    Parameters
    ----------
    product, apply
        Multiply such matrices, and vectors by them; all with a leading time axis.
    scan
        What forms the products of the maps, None for what is fastest on one device.
    """

    def compose(first: tuple, second: tuple) -> tuple:
        (a1, b1), (a2, b2) = first, second
        return product(a2, a1), apply(a2, b1) + b2

    def in_levels(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.lax.associative_scan(compose, (a, b))[1]

    def in_turn(a: jax.Array, b: jax.Array) -> jax.Array:
        def step(z: jax.Array, pair: tuple) -> tuple[jax.Array, jax.Array]:
            z = apply(pair[0][None], z[None])[0] + pair[1]
            return z, z

        return jax.lax.scan(step, jnp.zeros_like(b[0]), (a, b))[1]

    if scan is not None:
        return scan(compose, (a, b))[1]
    # Chosen when the program is lowered: it holds the one or the other.
    return jax.lax.platform_dependent(a, b, cpu=in_turn, default=in_levels)


def diagonal_scan(a: jax.Array, b: jax.Array, scan: Scan | None = None) -> jax.Array:
    """Solve ``z_t = a_t * z_{t-1} + b_t`` elementwise.

    Parameters
    ----------
    a, b
        Shape ``(T, D)``; ``a`` may be ``(T, 1)``.
    scan
        What forms the products of the maps; :mod:`parallel_mcmc.solver.timeaxis` has one for many
        devices. By default the recurrence is solved as one device does it fastest.

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
    return _affine_scan(jnp.multiply, jnp.multiply, a, b, scan)


def dense_scan(a: jax.Array, b: jax.Array, scan: Scan | None = None) -> jax.Array:
    """Solve ``z_t = a_t @ z_{t-1} + b_t``.

    Parameters
    ----------
    a
        Shape ``(T, D, D)``.
    b
        Shape ``(T, D)``.
    scan
        As for :func:`diagonal_scan`.

    Returns
    -------
    jax.Array
        ``z_1 … z_T``, shape ``(T, D)``.
    """

    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b, precision="highest")

    def apply(a: jax.Array, v: jax.Array) -> jax.Array:
        # A call of a matrix library takes longer than so small a product.
        return jnp.sum(a * v[:, None], axis=-1)

    return _affine_scan(product, apply, a, b, scan)


def block_scan(a: jax.Array, b: jax.Array, scan: Scan | None = None) -> jax.Array:
    """Solve ``z_t = a_t z_{t-1} + b_t`` for pairs.

    Parameters
    ----------
    a
        Shape ``(T, 2, 2, D)``, or ``(T, 2, 2, 1)`` where all coordinates share their matrix.
    b
        Shape ``(T, 2, D)``.
    scan
        As for :func:`diagonal_scan`.

    Returns
    -------
    jax.Array
        ``z_1 … z_T``, shape ``(T, 2, D)``.
    """
    return _affine_scan(block_product, block_apply, a, b, scan)


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
