"""Jacobian models: from a batch of steps to their values and an operator ``A_t``.

Each model is one choice of ``A_t`` in ``x_t <- f(x_{t-1}) + A_t (x_{t-1}^new - x_{t-1})``
(arXiv 2603.16850, chapter 2), and names a method of the literature: see ``docs/method.md``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import is_int, require_callable, require_int, require_positive_int
from parallel_mcmc._tree import STATIC, PyTree, as_partial, num_steps, pytree
from parallel_mcmc.solver.batches import for_each, in_blocks
from parallel_mcmc.solver.linearisation import (
    Linearisation,
    Product,
    linearised,
    sign_bits,
    signs_of,
)
from parallel_mcmc.solver.operators import (
    BlockOperator,
    DenseOperator,
    DiagonalOperator,
    ZeroOperator,
)
from parallel_mcmc.solver.recurrence import Recurrence


class JacobianModel(Protocol):
    """What the Newton loop asks of a model."""

    exact: ClassVar[bool]
    """Whether ``A_t`` is the Jacobian itself, which the secants of past moves cannot improve."""

    def evaluations(self, dim: int) -> int:
        """Return the step evaluations per time step, a Jacobian-vector product counted as one."""
        ...

    def linearise(
        self, recurrence: Recurrence, states: PyTree, inputs: PyTree, iteration: jax.Array
    ) -> Linearisation:
        """Evaluate ``recurrence`` at ``states`` (leading axis T) and model its Jacobian there."""
        ...


@pytree
@dataclasses.dataclass(frozen=True)
class Zero:
    """``A_t = 0``: Jacobi iteration."""

    exact: ClassVar[bool] = False

    def evaluations(self, dim: int) -> int:
        """Return 1."""
        return 1

    def linearise(self, recurrence, states, inputs, iteration) -> Linearisation:
        """Evaluate the steps only."""
        return Linearisation(*_values(recurrence, states, inputs), ZeroOperator(num_steps(inputs)))


@pytree
@dataclasses.dataclass(frozen=True)
class Identity:
    """``A_t = I``: Picard iteration."""

    exact: ClassVar[bool] = False

    def evaluations(self, dim: int) -> int:
        """Return 1."""
        return 1

    def linearise(self, recurrence, states, inputs, iteration) -> Linearisation:
        """Evaluate the steps only."""
        values, aux = _values(recurrence, states, inputs)
        dtype = _coordinates(recurrence, states).dtype
        ones = jnp.ones((num_steps(inputs), 1), dtype)
        return Linearisation(values, aux, DiagonalOperator(ones))


@pytree
@dataclasses.dataclass(frozen=True)
class Diagonal:
    """``A_t`` is the diagonal of the Jacobian: quasi-DEER (arXiv 2407.19115, section 4.1).

    Parameters
    ----------
    probes
        Number of Hutchinson probes ``v * (J v)`` with ``v = ±1`` (arXiv 2508.18413, section 3.2);
        None for the exact diagonal, at D Jacobian-vector products.
    seed
        Seed of the probes.
    sweeps
        Refinements of every linear solve, at one Jacobian-vector product each: what the diagonal
        leaves out of the Jacobian is applied to the correction found so far. They make the
        iteration an inexact Newton method with the diagonal scan as its preconditioner.
    redraw_every
        Iterations after which other probes are drawn, 1 by default, so that their errors average
        out; None for the same probes in all of them.

    Raises
    ------
    ValueError
        If ``probes`` or ``redraw_every`` is neither None nor a positive integer, ``seed`` is no
        integer, or ``sweeps`` is negative.
    """

    exact: ClassVar[bool] = False

    probes: int | None = dataclasses.field(default=1, metadata=STATIC)
    seed: int = dataclasses.field(default=0, metadata=STATIC)
    sweeps: int = dataclasses.field(default=1, metadata=STATIC)
    redraw_every: int | None = dataclasses.field(default=1, metadata=STATIC)

    def __post_init__(self) -> None:
        if self.probes is not None and (not is_int(self.probes) or self.probes < 1):
            raise ValueError(
                f"probes must be None (exact) or a positive integer, got {self.probes!r}"
            )
        require_int("seed", self.seed)
        if not is_int(self.sweeps) or self.sweeps < 0:
            raise ValueError(f"sweeps must be a non-negative integer, got {self.sweeps!r}")
        if self.redraw_every is not None:
            require_positive_int("redraw_every", self.redraw_every)

    def evaluations(self, dim: int) -> int:
        """Return 1 and one for every Jacobian-vector product."""
        return 1 + (dim if self.probes is None else self.probes) + self.sweeps

    def linearise(self, recurrence, states, inputs, iteration) -> Linearisation:
        """Evaluate the steps and their Jacobian-vector products."""
        x = _coordinates(recurrence, states)
        probes = ()
        if self.probes is not None:
            count = 0 if self.redraw_every is None else iteration // self.redraw_every
            key = jax.random.fold_in(jax.random.key(self.seed), count)
            probes = (sign_bits(key, (len(x), self.probes), x.shape[-1]),)
        if not self.sweeps:
            values, aux, diagonal = linearised(recurrence, _diagonal, states, inputs, *probes)
            return Linearisation(values, aux, DiagonalOperator(diagonal))
        # The sweeps come after a solve over all steps, for which all derivatives are kept.
        _, jvp, (values, aux) = jax.linearize(
            lambda x: recurrence.lifted_steps(x, states, inputs), x, has_aux=True
        )
        diagonal = _diagonal(jvp, x, *(jnp.moveaxis(bits, 1, 0) for bits in probes))
        return Linearisation(values, aux, DiagonalOperator(diagonal), (jvp,) * self.sweeps)


@pytree
@dataclasses.dataclass(frozen=True)
class Dense:
    """``A_t`` is the full Jacobian: Newton's method, DEER (arXiv 2309.12252), DeepPCR.

    Needs ``T x D x D`` memory and ``D`` Jacobian-vector products a step.
    """

    exact: ClassVar[bool] = True

    def evaluations(self, dim: int) -> int:
        """Return ``1 + D``."""
        return 1 + dim

    def linearise(self, recurrence, states, inputs, iteration) -> Linearisation:
        """Evaluate the steps and their Jacobians by forward differentiation."""
        values, aux, matrix = linearised(recurrence, _matrix, states, inputs)
        return Linearisation(values, aux, DenseOperator(matrix))


@pytree
@dataclasses.dataclass(frozen=True)
class Surrogate:
    """``A_t`` from an analytic model: a chord method that differentiates nothing.

    Parameters
    ----------
    model
        ``model(state, input, next_state)`` returns ``A_t`` for one step: a scalar (times the
        identity), a diagonal ``(D,)``, a matrix ``(D, D)``, or 2 x 2 diagonal blocks
        ``(2, 2, D / 2)`` for a state of two halves. Without it the recurrence's own
        model is used; the kernels of this package know theirs.

    Raises
    ------
    TypeError
        If ``model`` is not callable.
    ValueError
        In ``solve``, if there is neither ``model`` nor one of the recurrence's own, or if it
        returns an array of another shape.
    """

    exact: ClassVar[bool] = False

    model: Callable[..., jax.Array] | None = None

    def __post_init__(self) -> None:
        if self.model is not None:
            require_callable("model", self.model)
            object.__setattr__(self, "model", as_partial(self.model))

    def evaluations(self, dim: int) -> int:
        """Return 1."""
        return 1

    def linearise(self, recurrence, states, inputs, iteration) -> Linearisation:
        """Evaluate the steps, then the model at what they returned."""
        values, aux = _values(recurrence, states, inputs)
        x = _coordinates(recurrence, values)
        a = recurrence.modelled(
            self._model_of(recurrence, x.shape[-1]), states, inputs, values, aux
        )
        a = a.astype(x.dtype)
        if a.ndim == 4:
            return Linearisation(values, aux, BlockOperator(a))
        if a.ndim == 3:
            return Linearisation(values, aux, DenseOperator(a))
        return Linearisation(values, aux, DiagonalOperator(a if a.ndim == 2 else a[:, None]))

    def _model_of(self, recurrence: Recurrence, dim: int) -> Callable[..., jax.Array]:
        """Return the model as a recurrence has its own; it raises ValueError for a wrong shape."""
        if self.model is not None:
            # A user's model is not asked about what a step recorded.
            model = partial(_without_record, self.model)
        elif recurrence.surrogate is not None:
            model = recurrence.surrogate
        else:
            raise ValueError(
                "method: Surrogate() needs an analytic Jacobian and this step has none; pass "
                "Surrogate(model) with model(state, input, next_state) -> scalar, (D,), (D, D) or "
                "(2, 2, D / 2)"
            )
        accepted = [(), (1,), (dim,), (dim, dim), (2, 2, 1), (2, 2, dim // 2)]

        def checked(*transition: PyTree) -> jax.Array:
            a = model(*transition)
            if a.shape not in accepted:
                raise ValueError(
                    "method: the model of Surrogate must return a scalar, (D,), (D, D) or "
                    f"(2, 2, D / 2) for D = {dim} coordinates, got shape {a.shape}"
                )
            return a

        return checked


def _without_record(model: Callable[..., jax.Array], *transition: PyTree) -> jax.Array:
    return model(*transition[:-1])


def _diagonal(jvp: Product, x: jax.Array, bits: jax.Array | None = None) -> jax.Array:
    """Return the diagonal of the Jacobian, by the bits of probes if there are any, like ``x``.

    The Jacobian may be that of a whole batch, each row of which depends on its own row alone.
    """
    if bits is not None:
        signs = signs_of(bits, x.shape[-1], x.dtype)
        return jnp.mean(for_each(lambda sign: sign * jvp(sign), signs), axis=0)

    def column(i: jax.Array) -> jax.Array:
        # One basis vector at a time: memory stays T x D.
        return jvp(jnp.zeros_like(x).at[..., i].set(1))[..., i]

    return jnp.moveaxis(jax.lax.map(column, jnp.arange(x.shape[-1])), 0, -1)


def _matrix(jvp: Product, x: jax.Array) -> jax.Array:
    """Return the Jacobian, shape ``(D, D)``."""
    return for_each(jvp, jnp.eye(len(x), dtype=x.dtype)).T


def _values(recurrence: Recurrence, states: PyTree, inputs: PyTree) -> tuple[PyTree, PyTree]:
    batch = (_coordinates(recurrence, states), states, inputs)
    return in_blocks(lambda *step: recurrence.lifted_step(*step)[1], *batch)


def _coordinates(recurrence: Recurrence, states: PyTree) -> jax.Array:
    return jax.vmap(recurrence.chart.coordinates)(states)
