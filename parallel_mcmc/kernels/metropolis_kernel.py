"""What the Metropolis kernels share: a proposal, a gate, and the one accept step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
from jax.flatten_util import ravel_pytree

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.gate import Gate
from parallel_mcmc.kernels.metropolis import Candidate, TransitionInfo, accept
from parallel_mcmc.kernels.whitened import WhitenedKernel


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
