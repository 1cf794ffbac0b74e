"""Affine recurrences inside a trust region: Kalman smoothing by associative scans.

The Levenberg-Marquardt step minimises ``Σ |z_t - A_t z_{t-1} - b_t|² + λ Σ |z_t|²`` with
``z_0 = 0``. That is the posterior mean of a linear Gaussian state space model with unit process
noise and pseudo-observations ``0`` of precision λ (ELK: arXiv 2407.19115, section 4.2). Filter and
smoother are associative scans (Särkkä and García-Fernández, arXiv 1905.13002, lemmas 7-10), of two
to three times the work of the plain one. Everything is time-major.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc.solver.scans import dense_scan, diagonal_scan


class _Element(NamedTuple):
    """A stretch of the filter: moves a Gaussian and weighs where it started."""

    a: jax.Array
    mean: jax.Array
    covariance: jax.Array
    information: jax.Array
    precision: jax.Array


def diagonal_smoother(a: jax.Array, b: jax.Array, weight: jax.Array | float) -> jax.Array:
    """Return the minimiser for diagonal ``A_t``.

    Parameters
    ----------
    a, b
        Shape ``(T, D)``; ``a`` may be ``(T, 1)``.
    weight
        λ, positive: a larger weight gives a shorter step.

    Returns
    -------
    jax.Array
        ``z_1 … z_T``, shape ``(T, D)``.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> diagonal_smoother(jnp.zeros((3, 1)), jnp.ones((3, 1)), 1.0).ravel()
    Array([0.5, 0.5, 0.5], dtype=float32)
    """
    a = jnp.broadcast_to(a, b.shape).at[0].set(0)
    gain = weight / (1 + weight)
    rest = 1 / (1 + weight)

    def compose(first: _Element, second: _Element) -> _Element:
        shrink = 1 / (1 + first.covariance * second.precision)
        carried = second.a * shrink
        back = first.a * shrink
        return _Element(
            carried * first.a,
            carried * (first.mean + first.covariance * second.information) + second.mean,
            carried * second.a * first.covariance + second.covariance,
            back * (second.information - second.precision * first.mean) + first.information,
            back * first.a * second.precision + first.precision,
        )

    elements = _Element(rest * a, rest * b, jnp.full_like(b, rest), -gain * a * b, gain * a * a)
    filtered = jax.lax.associative_scan(compose, elements)
    mean, variance = filtered.mean[:-1], filtered.covariance[:-1]
    later, forcing = a[1:], b[1:]
    back = variance * later / (1 + later**2 * variance)
    smoothed = jnp.concatenate([mean - back * (later * mean + forcing), filtered.mean[-1:]])
    back = jnp.concatenate([back, jnp.zeros_like(b[:1])])
    return diagonal_scan(back[::-1], smoothed[::-1])[::-1]


def dense_smoother(a: jax.Array, b: jax.Array, weight: jax.Array | float) -> jax.Array:
    """Return the minimiser for full ``A_t``, shape ``(T, D, D)``; see :func:`diagonal_smoother`."""
    a = a.at[0].set(0)
    gain = weight / (1 + weight)
    rest = 1 / (1 + weight)
    eye = jnp.eye(b.shape[-1], dtype=b.dtype)

    def times(*matrices: jax.Array) -> jax.Array:
        product = matrices[0]
        for matrix in matrices[1:]:
            product = jnp.matmul(product, matrix, precision="highest")
        return product

    def on(matrix: jax.Array, vector: jax.Array) -> jax.Array:
        return jnp.einsum("tij,tj->ti", matrix, vector, precision="highest")

    def transposed(matrix: jax.Array) -> jax.Array:
        return jnp.swapaxes(matrix, -1, -2)

    def compose(first: _Element, second: _Element) -> _Element:
        shrink = jnp.linalg.inv(eye + times(first.covariance, second.precision))
        carried = times(second.a, shrink)
        # (I + J C)^-1 is the transpose of (I + C J)^-1, both being symmetric.
        back = times(transposed(first.a), transposed(shrink))
        return _Element(
            times(carried, first.a),
            on(carried, first.mean + on(first.covariance, second.information)) + second.mean,
            times(carried, first.covariance, transposed(second.a)) + second.covariance,
            on(back, second.information - on(second.precision, first.mean)) + first.information,
            times(back, second.precision, first.a) + first.precision,
        )

    elements = _Element(
        rest * a,
        rest * b,
        jnp.broadcast_to(rest * eye, a.shape),
        -gain * on(transposed(a), b),
        gain * times(transposed(a), a),
    )
    filtered = jax.lax.associative_scan(compose, elements)
    mean, covariance = filtered.mean[:-1], filtered.covariance[:-1]
    later, forcing = a[1:], b[1:]
    spread = times(later, covariance)
    back = transposed(jnp.linalg.solve(times(spread, transposed(later)) + eye, spread))
    smoothed = jnp.concatenate([mean - on(back, on(later, mean) + forcing), filtered.mean[-1:]])
    back = jnp.concatenate([back, jnp.zeros_like(a[:1])])
    return dense_scan(back[::-1], smoothed[::-1])[::-1]
