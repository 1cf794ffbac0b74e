"""What the Metropolis kernels share: a proposal, a gate, and the one accept step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.gate import Gate
from parallel_mcmc.kernels.metropolis import Candidate, TransitionInfo, accept
from parallel_mcmc.kernels.whitened import WhitenedKernel

TIE = 2.0
"""Rounding units of the log density between which a decision is a tie. What two evaluations at
nearly the same position differ by, beyond what the positions do, has a standard deviation of 0.3 to
0.5 of them, measured for regressions on 50,000 and on 200,000 rows."""

LARGEST_TIE = 0.1
"""Of the logarithm of an acceptance probability: log densities that are less exact are trusted."""


class Draw(NamedTuple):
    """The random numbers of one transition."""

    normal: jax.Array
    """Standard normal numbers: the whitened momentum or noise, shape ``(D,)``."""
    uniform: jax.Array
    """Uniform number of the accept step, scalar."""


class MetropolisKernel(WhitenedKernel):
    """Base of the kernels that propose, and accept or reject."""

    gate: Gate
    is_adjusted: ClassVar[bool] = True

    @abstractmethod
    def propose(self, evaluate: Callable[[jax.Array], Any], state: Any, draw: Any) -> Candidate:
        """Return the proposal, in whitened coordinates, and its margin."""

    def split_key(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the keys of the normal and of the uniform numbers, split as BlackJAX does."""
        key_normal, key_uniform = jax.random.split(key)
        return key_normal, key_uniform

    def draw_like(self, key: jax.Array, position: PyTree) -> Any:
        """Draw the normal and the uniform numbers of one transition."""
        vector = ravel_pytree(position)[0]
        key_normal, key_uniform = self.split_key(key)
        normal = jax.random.normal(key_normal, vector.shape, vector.dtype)
        return Draw(normal, jax.random.uniform(key_uniform, (), vector.dtype))

    def transition(
        self, evaluate: Callable[[jax.Array], Any], state: Any, draw: Any
    ) -> tuple[Any, TransitionInfo]:
        """Propose, and accept or reject."""
        return accept(state, self.propose(evaluate, state, draw), self.gate)

    def margin(self, info: TransitionInfo) -> jax.Array:
        """Return the distance to the accept threshold."""
        return info.accept_margin

    def agree(self, state: Any, draw: Any, info: TransitionInfo) -> Any:
        """Return the draw by which a tie is decided as it was in ``info``.

        Two evaluations whose positions differ in the last places decide differently where the
        margin is below the rounding of the log density, and what follows has to be made again.
        """
        logdensity = state.logdensity
        tie = TIE * jnp.finfo(logdensity.dtype).eps * jnp.abs(logdensity)
        shift = jnp.where(info.is_accepted, -tie, tie)
        factor = jnp.where(tie < LARGEST_TIE, 1 + shift, 1)
        return draw._replace(uniform=draw.uniform * factor.astype(draw.uniform.dtype))
