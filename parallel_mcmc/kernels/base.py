"""The kernel protocol, the states of the kernels, and how a chain's first state is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_arrays, require_finite, require_object
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import PyTree, any_traced
from parallel_mcmc.solver.jacobian import Surrogate
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.recurrence import Recurrence


class Kernel(Protocol):
    """A transition kernel with its randomness split off.

    ``step`` is deterministic: all randomness of a transition is in ``draw``. States are
    NamedTuples with a field ``position``, and a field ``logdensity`` where the kernel knows it;
    what else a state holds is the kernel's own business.
    """

    def init(self, position: PyTree, key: jax.Array | None = None) -> Any:
        """Return the state at ``position``; ``key`` draws what is random in it, if anything is."""
        ...

    def draw(self, key: jax.Array, position: PyTree | None = None) -> PyTree:
        """Draw the random numbers of one transition."""
        ...

    def step(self, state: Any, draw: PyTree) -> tuple[Any, PyTree]:
        """Make one transition; returns the next state and information about it."""
        ...

    def move(self, state: Any, position: PyTree) -> Any:
        """Return the state at another position.

        What the position determines is computed anew; the rest, such as a momentum, is kept.
        """
        ...

    def bind(self, position: PyTree) -> BoundKernel:
        """Return the kernel for positions like ``position``, as the driver runs it."""
        ...


def require_kernel(name: str, value: Any) -> None:
    """Raise TypeError if ``value`` is no kernel."""
    methods = ("init", "draw", "step", "move", "bind")
    require_object(name, value, methods, "a kernel such as pmc.hmc(...)")


class BoundKernel(NamedTuple):
    """A kernel for positions of one structure, in the coordinates it is solved in."""

    recurrence: Recurrence
    draw: Callable[[jax.Array], PyTree]
    """The random numbers of one transition from its key."""
    enter: Callable[[PyTree], PyTree]
    """From the kernel's state to the state of the recurrence."""
    leave: Callable[[PyTree], PyTree]
    """From the state of the recurrence to the kernel's state."""
    gradients_per_step: int
    """Gradient evaluations of one transition; evaluations of whatever is costly where the kernel
    takes no gradient."""
    gradients_per_lift: int
    """Such evaluations that the chart needs to find a state from its coordinates."""
    scale: float | None = 1.0
    """Typical size of the coordinates; None to have it observed along the iterates."""
    method: Newton = Newton(Surrogate())
    """The Newton method that suits the kernel."""
    foresight: int = 0
    """Steps that it pays to imitate before a lane of shooting."""
    imitate: Callable[[PyTree, PyTree], PyTree] | None = None
    """The states of the recurrence that follow one, by a cheap model of its steps that are made one
    after the other; of a kernel with foresight."""

    @property
    def imitated(self) -> Recurrence:
        """The recurrence, which guesses what comes by the imitation."""
        return dataclasses.replace(self.recurrence, predict=self.imitate)

    def solver_scale(self, dtype: Any) -> jax.Array | None:
        """Return ``scale`` as the solver takes it."""
        return None if self.scale is None else jnp.full((), self.scale, dtype)


class DensityState(NamedTuple):
    """State of the kernels that take no gradient, field by field that of BlackJAX."""

    position: PyTree
    """Position of the chain."""
    logdensity: jax.Array
    """Log density at the position, scalar."""


class GradientState(NamedTuple):
    """State of the gradient-based kernels, field by field that of BlackJAX."""

    position: PyTree
    """Position of the chain."""
    logdensity: jax.Array
    """Log density at the position, scalar."""
    logdensity_grad: PyTree
    """Gradient of the log density, like the position."""


class PhaseState(NamedTuple):
    """State of the kernels that carry a momentum, field by field that of BlackJAX."""

    position: PyTree
    """Position of the chain."""
    momentum: PyTree
    """Momentum, like the position."""
    logdensity: jax.Array
    """Log density at the position, scalar."""
    logdensity_grad: PyTree
    """Gradient of the log density, like the position."""


def checked_position(logdensity_fn: Callable, position: PyTree) -> PyTree:
    """Return ``position`` as arrays.

    Raises
    ------
    TypeError
        If a leaf is no array.
    ValueError
        If the position has no entries or a non-finite one, or if the log density is not a scalar.
    """
    position = require_arrays("initial_position", position)
    leaves = jax.tree.leaves(position)
    if not leaves or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise ValueError(
            "initial_position must be a pytree of floating-point arrays, got dtypes "
            f"{[str(leaf.dtype) for leaf in leaves]}"
        )
    require_finite("initial_position", position)
    try:
        shape = jax.eval_shape(logdensity_fn, position)
    except (TypeError, ValueError) as error:
        shapes = [leaf.shape for leaf in leaves]
        raise ValueError(
            f"logdensity_fn does not accept initial_position, shapes {shapes}: {error}"
        ) from error
    if getattr(shape, "shape", None) != ():
        raise ValueError(f"logdensity_fn must return a scalar, got {shape}")
    return position


def require_finite_density(value: jax.Array) -> None:
    """Raise if the log density at the start is not finite; a traced value is not looked at."""
    if not any_traced(value) and not bool(jnp.isfinite(value)):
        raise ValueError(
            f"initial_position must have a finite log density, got logdensity_fn = {value}"
        )


@full_precision()
def initial_state(logdensity_fn: Callable, position: PyTree) -> GradientState:
    """Return the state at ``position``.

    Raises
    ------
    ValueError
        If the position has no entries or a non-finite one, if the log density is not a scalar, or
        if it or its gradient is not finite.
    """
    position = checked_position(logdensity_fn, position)
    value, gradient = jax.value_and_grad(logdensity_fn)(position)
    require_finite_density(value)
    require_finite("the gradient of logdensity_fn at initial_position", gradient)
    return GradientState(position, value, gradient)
