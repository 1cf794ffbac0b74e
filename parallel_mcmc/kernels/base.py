"""The kernel protocol, and what kernels that carry a gradient have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._errors import require_finite
from parallel_mcmc._tree import PyTree, any_traced, pytree
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.solver.recurrence import Recurrence


class Kernel(Protocol):
    """A transition kernel with its randomness split off.

    ``step`` is deterministic: all randomness of a transition is in ``draw``.
    """

    def init(self, position: PyTree) -> PyTree:
        """Return the state at ``position``."""
        ...

    def draw(self, key: jax.Array, position: PyTree | None = None) -> PyTree:
        """Draw the random numbers of one transition."""
        ...

    def step(self, state: PyTree, draw: PyTree) -> tuple[PyTree, PyTree]:
        """Make one transition; returns the next state and information about it."""
        ...

    def bind(self, position: PyTree) -> BoundKernel:
        """Return the kernel for positions like ``position``, as the driver runs it."""
        ...


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
    """Gradient evaluations of one transition."""
    gradients_per_lift: int
    """Gradient evaluations that the chart needs to find a state from its coordinates."""


class GradientState(NamedTuple):
    """State of the gradient-based kernels, field by field that of BlackJAX."""

    position: PyTree
    """Position of the chain."""
    logdensity: jax.Array
    """Log density at the position, scalar."""
    logdensity_grad: PyTree
    """Gradient of the log density, like the position."""


class Flat(NamedTuple):
    """A :class:`GradientState` in whitened coordinates: what the solver iterates on."""

    position: jax.Array
    """Whitened position, shape ``(D,)``."""
    logdensity: jax.Array
    logdensity_grad: jax.Array
    """Gradient with respect to the whitened position, shape ``(D,)``."""


@pytree
@dataclasses.dataclass(frozen=True)
class WhitenedTarget:
    """A log density as a function of the whitened position."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    metric: Metric
    position: PyTree
    """An example of a position; only its structure, shapes and dtype matter."""

    def to_position(self, w: jax.Array) -> PyTree:
        """Return the position at whitened coordinates ``w``."""
        return ravel_pytree(self.position)[1](self.metric.color(w))

    def evaluate(self, w: jax.Array) -> Flat:
        """Return ``w`` with the log density and its gradient there."""
        value, gradient = jax.value_and_grad(lambda w: self.logdensity_fn(self.to_position(w)))(w)
        return Flat(w, value.astype(w.dtype), gradient)

    def enter(self, state: GradientState) -> Flat:
        """Return a kernel's state in whitened coordinates."""
        q, g = ravel_pytree(state.position)[0], ravel_pytree(state.logdensity_grad)[0]
        value = jnp.asarray(state.logdensity, q.dtype)
        return Flat(self.metric.whiten(q), value, self.metric.pull_gradient(g))

    def leave(self, state: Flat) -> GradientState:
        """Return the kernel's state of whitened coordinates."""
        unravel = ravel_pytree(self.position)[1]
        return GradientState(
            self.to_position(state.position),
            state.logdensity,
            unravel(self.metric.push_gradient(state.logdensity_grad)),
        )


@pytree
@dataclasses.dataclass(frozen=True)
class WhitenedChart:
    """The whitened position determines a :class:`Flat` state: at one gradient evaluation."""

    target: WhitenedTarget

    def coordinates(self, state: Flat) -> jax.Array:
        """Return the whitened position."""
        return state.position

    def place(self, state: Flat, coordinates: jax.Array) -> Flat:
        """Return the state with another position and the old gradient."""
        return state._replace(position=coordinates)

    def lift(self, state: Flat, coordinates: jax.Array) -> Flat:
        """Evaluate the log density and its gradient."""
        return self.target.evaluate(coordinates)

    def rest(self, state: Flat) -> Any:
        """Return nothing: the position determines the rest."""
        return ()


def initial_state(logdensity_fn: Callable, position: PyTree) -> GradientState:
    """Return the state at ``position``.

    Raises
    ------
    ValueError
        If the position has no entries or a non-finite one, if the log density is not a scalar, or
        if it or its gradient is not finite.
    """
    position = jax.tree.map(jnp.asarray, position)
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
    value, gradient = jax.value_and_grad(logdensity_fn)(position)
    if not any_traced(value) and not bool(jnp.isfinite(value)):
        raise ValueError(
            f"initial_position must have a finite log density, got logdensity_fn = {value}"
        )
    require_finite("the gradient of logdensity_fn at initial_position", gradient)
    return GradientState(position, value, gradient)
