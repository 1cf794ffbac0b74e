"""What the kernels that carry a momentum share."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._errors import require_key
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import STATIC, PyTree, any_traced, pytree
from parallel_mcmc.kernels.base import PhaseState, initial_state
from parallel_mcmc.kernels.whitened import (
    LARGEST_DENSE,
    Flat,
    WhitenedKernel,
    WhitenedTarget,
    apparent_centre,
)
from parallel_mcmc.solver.chart import Chart
from parallel_mcmc.solver.jacobian import Dense, Surrogate
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.scans import block_scan


class FlatPhase(NamedTuple):
    """A :class:`PhaseState` in whitened coordinates."""

    position: jax.Array
    """Whitened position, shape ``(D,)``."""
    momentum: jax.Array
    """Whitened momentum, shape ``(D,)``."""
    logdensity: jax.Array
    logdensity_grad: jax.Array
    """Gradient with respect to the whitened position, shape ``(D,)``."""

    @property
    def flat(self) -> Flat:
        """The state without its momentum."""
        return Flat(self.position, self.logdensity, self.logdensity_grad)


def with_momentum(state: Flat, momentum: jax.Array) -> FlatPhase:
    """Return the state with a momentum."""
    return FlatPhase(state.position, momentum, state.logdensity, state.logdensity_grad)


@pytree
@dataclasses.dataclass(frozen=True)
class PhaseTarget(WhitenedTarget):
    """A log density with its gradient, for states with a momentum."""

    covariant: bool = dataclasses.field(default=True, metadata=STATIC)
    """Whether the public momentum is dual to the position, as a gradient is; or already white."""

    def enter(self, state: PhaseState) -> FlatPhase:
        """Return a kernel's state in whitened coordinates."""
        momentum = ravel_pytree(state.momentum)[0]
        if self.covariant:
            momentum = self.metric.pull_gradient(momentum)
        return with_momentum(super().enter(state), momentum)

    def leave(self, state: FlatPhase) -> PhaseState:
        """Return the kernel's state of whitened coordinates."""
        position, logdensity, gradient = super().leave(state)
        momentum = state.momentum
        if self.covariant:
            momentum = self.metric.push_gradient(momentum)
        unravel = ravel_pytree(self.position)[1]
        return PhaseState(position, unravel(momentum), logdensity, gradient)


@pytree
@dataclasses.dataclass(frozen=True)
class PhaseChart:
    """Whitened position and momentum, the latter in units in which it has variance 1."""

    target: Any
    """What evaluates a whitened position: its method ``evaluate`` returns a :class:`Flat`."""
    momentum_scale: float = dataclasses.field(default=1.0, metadata=STATIC)

    def coordinates(self, state: FlatPhase) -> jax.Array:
        """Return position and momentum, shape ``(2 D,)``."""
        return jnp.concatenate([state.position, state.momentum / self.momentum_scale])

    def place(self, state: FlatPhase, coordinates: jax.Array) -> FlatPhase:
        """Return the state with another position and momentum and the old log density."""
        position, momentum = jnp.split(coordinates, 2)
        return state._replace(position=position, momentum=momentum * self.momentum_scale)

    def lift(self, state: FlatPhase, coordinates: jax.Array) -> FlatPhase:
        """Evaluate the log density and its gradient."""
        position, momentum = jnp.split(coordinates, 2)
        return with_momentum(self.target.evaluate(position), momentum * self.momentum_scale)

    def rest(self, state: FlatPhase) -> Any:
        """Return nothing: the coordinates determine the rest."""
        return ()


class PhaseKernel(WhitenedKernel):
    """Base of the kernels whose state has a momentum."""

    @abstractmethod
    def initial_momentum(self, key: jax.Array, position: PyTree) -> PyTree:
        """Draw the public momentum of a first state."""

    @abstractmethod
    def unit_gaussian(self, draw: Any) -> tuple[jax.Array, jax.Array]:
        """Return the transition on a unit Gaussian, in the chart's coordinates.

        The 2 x 2 matrix that all coordinates share, and the noise, shape ``(2, D)``.
        """

    def method(self, dim: int) -> Newton:
        """Return the Newton method with the kernel's own blocks, or with the whole Jacobian.

        A momentum that is forgotten slowly carries an error far: in few dimensions the whole
        Jacobian pays.
        """
        return Newton(Dense() if 2 * dim <= LARGEST_DENSE else Surrogate())

    def init(self, position: PyTree, key: jax.Array | None = None) -> PhaseState:
        """Return the state at ``position``, its momentum drawn with ``key``.

        Raises
        ------
        TypeError
            If there is no key.
        ValueError
            If the chain cannot start at ``position``.
        """
        if not any_traced(key):
            key = require_key("key", key)
        assert key is not None
        state = initial_state(self.logdensity_fn, position)
        return PhaseState(state.position, self.initial_momentum(key, state.position), *state[1:])

    @full_precision()
    def move(self, state: PhaseState, position: PyTree) -> PhaseState:
        """Return the state at another position with the old momentum."""
        value, gradient = jax.value_and_grad(self.logdensity_fn)(position)
        return PhaseState(position, state.momentum, value, gradient)

    def target(self, position: PyTree) -> PhaseTarget:
        """Return the log density in whitened coordinates."""
        return PhaseTarget(self.logdensity_fn, self.metric, position)

    def chart(self, target: Any) -> Chart:
        """Return the coordinates that the solver moves: position and momentum."""
        return PhaseChart(target)

    def surrogate(self, state: FlatPhase, draw: Any, next_state: Any, info: Any) -> jax.Array:
        """Return the Jacobian on a unit Gaussian, shape ``(2, 2, 1)``."""
        return self.unit_gaussian(draw)[0][:, :, None]

    @full_precision()
    def predict(self, chart: Chart, state: FlatPhase, draws: Any) -> FlatPhase:
        """Guess the coming states: the kernel on the unit Gaussian seen from ``state``."""
        matrix, noise = jax.vmap(self.unit_gaussian)(draws)
        centre = apparent_centre(state)
        start = chart.coordinates(state).reshape(2, -1).at[0].add(-centre)
        matrix = matrix.astype(start.dtype)
        first = noise.at[0].add(matrix[0] @ start)
        path = block_scan(matrix[..., None], first).at[:, 0].add(centre)
        return jax.vmap(chart.place, in_axes=(None, 0))(state, path.reshape(len(path), -1))
