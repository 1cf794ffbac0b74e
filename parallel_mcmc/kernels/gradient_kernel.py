"""What MALA and HMC share: a transition in whitened coordinates and its ways in and out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._errors import require_key
from parallel_mcmc._tree import PyTree, any_traced
from parallel_mcmc.kernels.base import (
    BoundKernel,
    Flat,
    GradientState,
    WhitenedChart,
    WhitenedTarget,
    initial_state,
)
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.kernels.metropolis import Candidate, TransitionInfo, accept
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.scans import diagonal_scan


class Draw(NamedTuple):
    """The random numbers of one transition."""

    normal: jax.Array
    """Standard normal numbers: the whitened momentum or noise, shape ``(D,)``."""
    uniform: jax.Array
    """Uniform number of the accept step, scalar."""


class GradientKernel:
    """Base of the kernels whose state is position, log density and gradient."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    metric: Metric

    @property
    @abstractmethod
    def gradients_per_step(self) -> int:
        """Gradient evaluations of one transition."""

    @abstractmethod
    def propose(self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: Draw) -> Candidate:
        """Return the proposal, in whitened coordinates, and its margin."""

    @abstractmethod
    def split_key(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the keys of the normal and of the uniform numbers."""

    @abstractmethod
    def unit_gaussian(self) -> tuple[jax.Array, jax.Array]:
        """Return the proposal's linear map on a unit Gaussian.

        Two scalars: the factors of the whitened position and of the normal numbers.
        """

    def init(self, position: PyTree) -> GradientState:
        """Return the state at ``position``; raises ValueError if it cannot start there."""
        return initial_state(self.logdensity_fn, position)

    def draw(self, key: jax.Array, position: PyTree | None = None) -> Draw:
        """Draw the random numbers of one transition.

        ``position`` gives their number and dtype where the inverse mass matrix does not.
        """
        if not any_traced(key):
            key = require_key("key", key)
        if position is not None:
            return self._draw(key, ravel_pytree(position)[0])
        if self.metric.dim is None:
            raise ValueError("position must be given: the inverse mass matrix has no size")
        return self._draw(key, jnp.zeros(self.metric.dim))

    def step(self, state: GradientState, draw: Draw) -> tuple[GradientState, TransitionInfo]:
        """Make one transition; deterministic."""
        target = self._target(state.position)
        flat, info = _bound_step(self, target, target.enter(state), draw)
        return target.leave(flat), info

    def bind(self, position: PyTree) -> BoundKernel:
        """Return the kernel for positions like ``position``, in whitened coordinates."""
        target = self._target(position)
        vector = ravel_pytree(position)[0]
        if self.metric.dim not in (None, vector.size):
            raise ValueError(
                f"inverse_mass_matrix is for {self.metric.dim} dimensions, the position has "
                f"{vector.size}"
            )
        recurrence = Recurrence(
            jax.tree_util.Partial(_bound_step, self, target),
            WhitenedChart(target),
            jax.tree_util.Partial(_surrogate, self),
            jax.tree_util.Partial(_margin),
            jax.tree_util.Partial(_predict, self, WhitenedChart(target)),
        )
        return BoundKernel(
            recurrence,
            lambda key: self._draw(key, vector),
            target.enter,
            target.leave,
            self.gradients_per_step,
            gradients_per_lift=1,
        )

    def _target(self, position: PyTree) -> WhitenedTarget:
        return WhitenedTarget(self.logdensity_fn, self.metric, position)

    def _draw(self, key: jax.Array, vector: jax.Array) -> Draw:
        key_normal, key_uniform = self.split_key(key)
        normal = jax.random.normal(key_normal, vector.shape, vector.dtype)
        return Draw(normal, jax.random.uniform(key_uniform, (), vector.dtype))


def _bound_step(kernel: GradientKernel, target: WhitenedTarget, state: Flat, draw: Draw) -> Any:
    return accept(state, kernel.propose(target.evaluate, state, draw))


def _surrogate(
    kernel: GradientKernel, state: Flat, draw: Draw, next_state: Flat, info: TransitionInfo
) -> jax.Array:
    """Return the Jacobian on a unit Gaussian: the proposal's if accepted, the identity if not."""
    contraction, _ = kernel.unit_gaussian()
    return jnp.where(info.is_accepted, contraction, 1.0).astype(state.position.dtype)


def _margin(info: TransitionInfo) -> jax.Array:
    return info.accept_margin


def _predict(kernel: GradientKernel, chart: WhitenedChart, state: Flat, draws: Draw) -> Flat:
    """Guess the coming states: the kernel on the Gaussian seen from ``state``, all accepted.

    In whitened coordinates the posterior is close to ``N(m, I)``, and the gradient tells where m
    is: ``m = w + grad``.
    """
    contraction, gain = kernel.unit_gaussian()
    centre = state.position + state.logdensity_grad
    noise = gain * draws.normal
    decay = jnp.full((len(noise), 1), contraction, noise.dtype)
    first = noise.at[0].add(contraction * (state.position - centre))
    positions = centre + diagonal_scan(decay, first.astype(noise.dtype))
    return jax.vmap(chart.place, in_axes=(None, 0))(state, positions)
