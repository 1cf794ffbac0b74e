"""Safeguards: how far the Newton loop trusts the linearisation.

Newton's method without one overflows on real posteriors. Two act together by default: a cap on
the norm of every ``A_t`` that learns from how well the last prediction was met, and a radius on
the correction that enters the linear model.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_at_most, require_positive
from parallel_mcmc._tree import pytree


class NormCap(Protocol):
    """A bound on the norm of every ``A_t`` that may learn from one iteration to the next."""

    def initial(self, length: int, dtype: jnp.dtype) -> jax.Array:
        """Return the bounds of the first iteration, shape ``(T,)``."""
        ...

    def update(
        self, cap: jax.Array, norm: jax.Array, miss: jax.Array, move: jax.Array
    ) -> jax.Array:
        """Return the next bounds, shape ``(T,)``.

        Parameters
        ----------
        cap, norm
            The bounds in force and the norms of the ``A_t`` before they are capped: a bound
            that came down could never recover if the capped model were judged.
        miss
            How far the value lies from where the linear model would have it.
        move
            How far the argument has moved since the last iteration.
        """
        ...


@pytree
@dataclasses.dataclass(frozen=True)
class FixedCap:
    """The same bound for every step and iteration.

    Parameters
    ----------
    max_norm
        The bound, positive; infinity for none.

    Raises
    ------
    ValueError
        If ``max_norm`` is not positive.

    Examples
    --------
    >>> import parallel_mcmc as pmc
    >>> method = pmc.Newton(pmc.Diagonal(), max_norm=pmc.FixedCap(0.9))
    """

    max_norm: float

    def __post_init__(self) -> None:
        unbounded = isinstance(self.max_norm, float) and self.max_norm == math.inf
        if not unbounded:
            require_positive("max_norm", self.max_norm)

    def initial(self, length: int, dtype: jnp.dtype) -> jax.Array:
        """Return the bound for every step."""
        return jnp.full(length, self.max_norm, dtype)

    def update(self, cap, norm, miss, move) -> jax.Array:
        """Return the bounds unchanged."""
        return cap


@pytree
@dataclasses.dataclass(frozen=True)
class LearnedCap:
    """Bounds that grow where the linear model predicts well and shrink where it does not.

    Parameters
    ----------
    start
        Bound of the first iteration.
    grow, good
        The bound is multiplied by ``grow`` where the prediction missed by less than ``good``
        times the move of the argument.
    shrink, bad
        It becomes ``shrink * min(bound, norm)`` where it missed by more than ``bad`` times.
    smallest, largest
        Limits of the bound; it is ``largest`` where the argument no longer moves.

    Raises
    ------
    ValueError
        If a number is not positive, ``grow`` is below 1 or ``shrink`` above it, or the bounds are
        not ``good <= bad`` and ``smallest <= start <= largest``.

    Examples
    --------
    >>> import parallel_mcmc as pmc
    >>> method = pmc.Newton(pmc.Dense(), max_norm=pmc.LearnedCap(start=0.5))
    """

    start: float = 1.0
    grow: float = 2.0
    good: float = 0.1
    shrink: float = 0.3
    bad: float = 0.6
    smallest: float = 0.03
    largest: float = 1000.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            require_positive(field.name, getattr(self, field.name))
        require_at_most("shrink", self.shrink, 1)
        require_at_most("good", self.good, self.bad)
        require_at_most("start", self.start, self.largest)
        require_at_most("smallest", self.smallest, self.start)
        if self.grow < 1:
            raise ValueError(f"grow must be at least 1, got {self.grow}")

    def initial(self, length: int, dtype: jnp.dtype) -> jax.Array:
        """Return ``start`` for every step."""
        return jnp.full(length, self.start, dtype)

    def update(self, cap, norm, miss, move) -> jax.Array:
        """Compare the miss of each prediction with the move it was made for."""
        grown = jnp.where(miss < self.good * move, self.grow * cap, cap)
        shrunk = self.shrink * jnp.minimum(cap, norm)
        learned = jnp.where(miss <= self.bad * move, grown, shrunk)
        learned = jnp.clip(learned, self.smallest, self.largest)
        return jnp.where(move == 0, self.largest, learned)


class Memory(NamedTuple):
    """What the loop remembers of the last iteration, one entry a time step."""

    cap: jax.Array
    """Bound on the norm of ``A_t``, shape ``(T,)``."""
    value: jax.Array
    """Coordinates of ``f(x_{t-1})``, shape ``(T, D)``."""
    step: jax.Array
    """How ``x_{t-1}`` moved since, shape ``(T, D)``."""
    known: jax.Array
    """Whether there was a last iteration for this time step, shape ``(T,)``."""


class Secant(NamedTuple):
    """The rank-one correction of every ``A_t`` that its last move calls for.

    Broyden's update of the current model: the move ``v`` of the argument and the change ``w`` of
    the value ask for ``A v = w``, so ``(w - A v) v' / v'v`` is added. A scan of such matrices
    would be dense; the loop applies the correction to the result of the scan instead.
    """

    left: jax.Array
    """``(w - A v) / v'v``, zero where the correction is not to be trusted, shape ``(T, D)``."""
    right: jax.Array
    """``v``, shape ``(T, D)``."""
    scale: jax.Array | float
    """Units that lengths and angles are those in, broadcastable to ``(D,)``."""

    def apply(self, vectors: jax.Array) -> jax.Array:
        """Multiply vectors of shape ``(T, D)``."""
        along = self.right * (vectors / self.scale / self.scale)
        return self.left * jnp.sum(along, axis=-1, keepdims=True)


def secant(
    miss: jax.Array, step: jax.Array, trusted: jax.Array, scale: jax.Array | float = 1.0
) -> Secant:
    """Return the rank-one correction for the misses ``w - A v`` of the moves ``v``.

    Lengths and angles are those in units of ``scale``. A correction longer than half the move is
    no derivative: an accept decision has changed.
    """
    length = jnp.sum((step / scale) ** 2, axis=-1)
    small = jnp.sum((miss / scale) ** 2, axis=-1) <= 0.25 * length
    trusted = trusted & small & (length > 0)
    left = miss / jnp.where(length > 0, length, 1)[:, None]
    return Secant(jnp.where(trusted[:, None], left, 0), step, scale)


def clip_length(
    v: jax.Array, radius: jax.Array | float, scale: jax.Array | float = 1.0
) -> jax.Array:
    """Return the vectors ``v``, shape ``(T, D)``, shortened to a root mean square of ``radius``.

    It is measured in units of ``scale``, broadcastable to ``(D,)``.
    """
    length = jnp.sqrt(jnp.mean((v / scale) ** 2, axis=-1, keepdims=True))
    return v * jnp.minimum(1, radius / jnp.where(length > 0, length, 1))
