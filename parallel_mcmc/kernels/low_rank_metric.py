"""A metric for many dimensions: a diagonal and a few directions."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_arrays
from parallel_mcmc._tree import any_traced, pytree


@pytree
@dataclasses.dataclass(frozen=True)
class LowRankMetric:
    """The inverse mass matrix ``S (I + V (Λ - I) V') S`` of D scales and r directions.

    A change of coordinates costs ``O(D r)`` and no ``(D, D)`` array, so that D may be large. The
    kernels take it for their ``inverse_mass_matrix``;
    :class:`~parallel_mcmc.warmup.LowRank` has the warmup estimate one.

    Parameters
    ----------
    scale
        The diagonal of ``S``, positive, shape ``(D,)``.
    vectors
        Orthonormal columns ``V``, shape ``(D, r)``: directions of ``S^-1 q``.
    values
        The variances ``Λ`` along them, positive, shape ``(r,)``; across them it is 1.

    Raises
    ------
    TypeError
        If an argument is no array.
    ValueError
        If an argument has a wrong shape, ``scale`` or ``values`` are not positive and finite, or
        ``vectors`` not orthonormal.

    References
    ----------
    Seyboldt, Carlson and Carpenter, arXiv 2603.18845, section 3.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> from parallel_mcmc.kernels import LowRankMetric
    >>> direction = jnp.ones((100, 1)) / 10
    >>> metric = LowRankMetric(jnp.ones(100), direction, jnp.array([50.0]))
    >>> def logdensity(x):
    ...     return -0.5 * (jnp.sum(x**2) - (1 - 1 / 50) * jnp.sum(x * direction[:, 0]) ** 2)
    >>> kernel = pmc.hmc(logdensity, 0.3, metric, 5)
    >>> samples = pmc.sample(jax.random.key(0), kernel, jnp.zeros(100), 200, progress_bar=False)
    >>> bool(samples.info.is_accepted.mean() > 0.8)
    True
    """

    scale: jax.Array
    vectors: jax.Array
    values: jax.Array

    def __post_init__(self) -> None:
        for name in ("scale", "vectors", "values"):
            object.__setattr__(self, name, require_arrays(name, getattr(self, name)))
        shapes = self.scale.shape, self.vectors.shape, self.values.shape
        if [len(shape) for shape in shapes] != [1, 2, 1] or shapes[1] != shapes[0] + shapes[2]:
            raise ValueError(
                "scale, vectors and values must have the shapes (D,), (D, r) and (r,), got "
                f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
            )
        for name in ("scale", "values"):
            numbers = getattr(self, name)
            if not any_traced(numbers) and not bool((jnp.isfinite(numbers) & (numbers > 0)).all()):
                raise ValueError(f"{name} must be positive and finite, got {numbers}")
        if any_traced(self.vectors):
            return
        gram = jnp.matmul(self.vectors.T, self.vectors, precision="highest")
        if not bool(jnp.abs(gram - jnp.eye(len(gram))).max() < 1e-3):
            raise ValueError("vectors must have orthonormal columns, as jnp.linalg.qr gives")

    @property
    def dim(self) -> int:
        """D."""
        return self.scale.shape[0]

    def whiten(self, q: jax.Array) -> jax.Array:
        """Return ``w = (I + V (Λ^-1/2 - I) V') S^-1 q``."""
        return self._stretched(q / self.scale.astype(q.dtype), -0.5)

    def color(self, w: jax.Array) -> jax.Array:
        """Return ``q = S (I + V (Λ^1/2 - I) V') w``."""
        return self.scale.astype(w.dtype) * self._stretched(w, 0.5)

    def pull_gradient(self, gradient: jax.Array) -> jax.Array:
        """Return ``(I + V (Λ^1/2 - I) V') S g``."""
        return self._stretched(self.scale.astype(gradient.dtype) * gradient, 0.5)

    def push_gradient(self, gradient: jax.Array) -> jax.Array:
        """Return ``S^-1 (I + V (Λ^-1/2 - I) V') g``."""
        return self._stretched(gradient, -0.5) / self.scale.astype(gradient.dtype)

    def variances(self) -> jax.Array:
        """Return the diagonal of the inverse mass matrix, ``(D,)``."""
        return self.scale**2 * (1 + jnp.sum(self.vectors**2 * (self.values - 1), axis=1))

    def inverse_mass_matrix(self) -> jax.Array:
        """Return the whole matrix, ``(D, D)``: for few dimensions only."""
        scaled = self.scale[:, None] * self.vectors
        low_rank = jnp.matmul(scaled * (self.values - 1), scaled.T, precision="highest")
        return jnp.diag(self.scale**2) + low_rank

    def _stretched(self, v: jax.Array, power: float) -> jax.Array:
        """Return ``(I + V (Λ^power - I) V') v``."""
        vectors = self.vectors.astype(v.dtype)
        along = jnp.matmul(vectors.T, v, precision="highest")
        stretch = self.values.astype(v.dtype) ** power - 1
        return v + jnp.matmul(vectors, stretch * along, precision="highest")
