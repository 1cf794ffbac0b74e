"""Metrics: the inverse mass matrix as a change of coordinates.

With ``M^-1 = L L'`` and ``q = L w`` a kernel with inverse mass matrix ``M^-1`` on ``q`` is the
same kernel with the identity on ``w``. Where the metric matches the posterior's covariance, ``w``
is close to a standard normal: the chain mixes well and the diagonal models of the solver are
nearly exact.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import any_traced, pytree


class Metric(Protocol):
    """A linear change of coordinates ``q = L w`` of vectors of shape ``(D,)``."""

    @property
    def dim(self) -> int | None:
        """D, or None where the metric fits any size."""
        ...

    def whiten(self, q: jax.Array) -> jax.Array:
        """Return ``w = L^-1 q``."""
        ...

    def color(self, w: jax.Array) -> jax.Array:
        """Return ``q = L w``."""
        ...

    def pull_gradient(self, gradient: jax.Array) -> jax.Array:
        """Return the gradient with respect to w, ``L' g``, from the one with respect to q."""
        ...

    def push_gradient(self, gradient: jax.Array) -> jax.Array:
        """Return the gradient with respect to q, ``L'^-1 g``, from the one with respect to w."""
        ...

    def inverse_mass_matrix(self) -> jax.Array:
        """Return ``L L'``: ``(D,)`` where it is diagonal, else ``(D, D)``."""
        ...


@pytree
@dataclasses.dataclass(frozen=True)
class DiagonalMetric:
    """A diagonal inverse mass matrix; ``scale`` holds its square root, ``(D,)`` or a scalar."""

    scale: jax.Array

    @property
    def dim(self) -> int | None:
        """D, or None for a multiple of the identity of any size."""
        return self.scale.shape[0] if self.scale.ndim else None

    def whiten(self, q: jax.Array) -> jax.Array:
        """Return ``w = q / scale``."""
        return q / self.scale.astype(q.dtype)

    def color(self, w: jax.Array) -> jax.Array:
        """Return ``q = scale * w``."""
        return w * self.scale.astype(w.dtype)

    def pull_gradient(self, gradient: jax.Array) -> jax.Array:
        """Return ``scale * g``."""
        return self.color(gradient)

    def push_gradient(self, gradient: jax.Array) -> jax.Array:
        """Return ``g / scale``."""
        return self.whiten(gradient)

    def inverse_mass_matrix(self) -> jax.Array:
        """Return the diagonal."""
        return self.scale**2


@pytree
@dataclasses.dataclass(frozen=True)
class DenseMetric:
    """A full inverse mass matrix; ``factor`` is its lower Cholesky factor ``L``, ``(D, D)``."""

    factor: jax.Array
    inverse_factor: jax.Array

    @property
    def dim(self) -> int:
        """D."""
        return self.factor.shape[0]

    def whiten(self, q: jax.Array) -> jax.Array:
        """Return ``w = L^-1 q``."""
        return _matvec(self.inverse_factor, q)

    def color(self, w: jax.Array) -> jax.Array:
        """Return ``q = L w``."""
        return _matvec(self.factor, w)

    def pull_gradient(self, gradient: jax.Array) -> jax.Array:
        """Return ``L' g``."""
        return _matvec(self.factor.T, gradient)

    def push_gradient(self, gradient: jax.Array) -> jax.Array:
        """Return ``L'^-1 g``."""
        return _matvec(self.inverse_factor.T, gradient)

    def inverse_mass_matrix(self) -> jax.Array:
        """Return ``L L'``."""
        return jnp.matmul(self.factor, self.factor.T, precision="highest")


def _matvec(matrix: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.matmul(matrix.astype(v.dtype), v, precision="highest")


def is_metric(value: Any) -> bool:
    """Whether ``value`` is a metric rather than a matrix."""
    methods = ("whiten", "color", "pull_gradient", "push_gradient", "inverse_mass_matrix")
    return not isinstance(value, type) and all(callable(getattr(value, m, None)) for m in methods)


def metric(inverse_mass_matrix: Any) -> Metric:
    """Return the metric of an inverse mass matrix.

    Parameters
    ----------
    inverse_mass_matrix
        The diagonal, shape ``(D,)``, or the matrix, shape ``(D, D)``: an estimate of the
        posterior covariance. None or a positive scalar stands for a multiple of the identity. A
        metric, such as a :class:`LowRankMetric`, is returned.

    Raises
    ------
    TypeError
        If it is no array.
    ValueError
        If it has another shape, or is not positive definite, symmetric and finite.

    Examples
    --------
    >>> metric([4.0, 9.0]).color(jnp.ones(2))
    Array([2., 3.], dtype=float32)
    """
    if inverse_mass_matrix is None:
        inverse_mass_matrix = 1.0
    if is_metric(inverse_mass_matrix):
        return inverse_mass_matrix
    try:
        given = jnp.asarray(inverse_mass_matrix)
    except TypeError as error:
        raise TypeError(
            f"inverse_mass_matrix must be an array of numbers, got {inverse_mass_matrix!r}"
        ) from error
    if not jnp.issubdtype(given.dtype, jnp.floating):
        given = given.astype(jnp.result_type(float))
    if given.ndim <= 1:
        if not any_traced(given) and not bool((jnp.isfinite(given) & (given > 0)).all()):
            raise ValueError(
                f"inverse_mass_matrix must be positive and finite, got {inverse_mass_matrix}"
            )
        return DiagonalMetric(jnp.sqrt(given))
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise ValueError(f"inverse_mass_matrix must have shape (D,) or (D, D), got {given.shape}")
    factor = jnp.linalg.cholesky(given)
    if not any_traced(given):
        symmetric = bool(jnp.abs(given - given.T).max() <= 1e-5 * jnp.abs(given).max())
        if not symmetric or not bool(jnp.isfinite(factor).all()):
            raise ValueError(
                "inverse_mass_matrix must be symmetric, positive definite and finite, got "
                f"{inverse_mass_matrix}"
            )
    eye = jnp.eye(len(given), dtype=given.dtype)
    return DenseMetric(factor, jax.scipy.linalg.solve_triangular(factor, eye, lower=True))
