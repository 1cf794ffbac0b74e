"""What the Metropolis kernels with a gradient share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.base import GradientState, initial_state
from parallel_mcmc.kernels.gate import Gate
from parallel_mcmc.kernels.metropolis import Candidate, TransitionInfo, accept
from parallel_mcmc.kernels.whitened import Flat, WhitenedKernel
from parallel_mcmc.solver.chart import Chart
from parallel_mcmc.solver.scans import diagonal_scan


class Draw(NamedTuple):
    """The random numbers of one transition."""

    normal: jax.Array
    """Standard normal numbers: the whitened momentum or noise, shape ``(D,)``."""
    uniform: jax.Array
    """Uniform number of the accept step, scalar."""


class GradientKernel(WhitenedKernel):
    """Base of the Metropolis kernels whose state is position, log density and gradient."""

    gate: Gate

    @abstractmethod
    def propose(self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: Any) -> Candidate:
        """Return the proposal, in whitened coordinates, and its margin."""

    @abstractmethod
    def split_key(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the keys of the normal and of the uniform numbers."""

    @abstractmethod
    def unit_gaussian(self, draw: Any) -> tuple[jax.Array, jax.Array]:
        """Return the proposal's linear map on a unit Gaussian.

        Two scalars: the factors of the whitened position and of the normal numbers.
        """

    def init(self, position: PyTree, key: jax.Array | None = None) -> GradientState:
        """Return the state at ``position``; raises ValueError if it cannot start there."""
        return initial_state(self.logdensity_fn, position)

    def move(self, state: GradientState, position: PyTree) -> GradientState:
        """Return the state at another position, at one gradient evaluation."""
        return GradientState(position, *jax.value_and_grad(self.logdensity_fn)(position))

    def draw_like(self, key: jax.Array, position: PyTree) -> Any:
        """Draw the normal and the uniform numbers of one transition."""
        vector = ravel_pytree(position)[0]
        key_normal, key_uniform = self.split_key(key)
        normal = jax.random.normal(key_normal, vector.shape, vector.dtype)
        return Draw(normal, jax.random.uniform(key_uniform, (), vector.dtype))

    def transition(
        self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: Any
    ) -> tuple[Flat, TransitionInfo]:
        """Propose, and accept or reject."""
        return accept(state, self.propose(evaluate, state, draw), self.gate)

    def surrogate(
        self, state: Flat, draw: Any, next_state: Flat, info: TransitionInfo
    ) -> jax.Array:
        """Return the Jacobian on a unit Gaussian: the proposal's if accepted, else 1."""
        contraction, _ = self.unit_gaussian(draw)
        return jnp.where(info.is_accepted, contraction, 1.0).astype(state.position.dtype)

    def margin(self, info: TransitionInfo) -> jax.Array:
        """Return the distance to the accept threshold."""
        return info.accept_margin

    def predict(self, chart: Chart, state: Flat, draws: Any) -> Flat:
        """Guess the coming states: the kernel on the Gaussian seen from ``state``, all accepted.

        In whitened coordinates the posterior is close to ``N(m, I)``, and the gradient tells where
        m is: ``m = w + grad``.
        """
        dtype = state.position.dtype
        contraction, gain = jax.vmap(self.unit_gaussian)(draws)
        decay = contraction.astype(dtype)[:, None]
        noise = gain.astype(dtype)[:, None] * draws.normal
        centre = state.position + state.logdensity_grad
        first = noise.at[0].add(decay[0] * (state.position - centre))
        positions = centre + diagonal_scan(decay, first)
        return jax.vmap(chart.place, in_axes=(None, 0))(state, positions)
