"""HMC whose number of leapfrog steps follows from the step size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, pytree
from parallel_mcmc.kernels import HMC
from parallel_mcmc.kernels.base import Flat
from parallel_mcmc.kernels.gradient_kernel import Draw, GradientKernel
from parallel_mcmc.kernels.metric import Metric


@pytree
@dataclasses.dataclass(frozen=True)
class TrajectoryHMC(GradientKernel):
    """HMC with trajectories of one length, as NumPyro has it.

    ``n = max(1, ceil(trajectory_length / step_size))`` leapfrog steps of
    ``trajectory_length / n``: the number changes while a warmup tunes the step size, and no new
    program is compiled for it.
    """

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    metric: Metric
    trajectory_length: jax.Array

    def leapfrog(self) -> HMC:
        """Return the HMC kernel with as many steps; their number may be traced."""
        count = jnp.ceil(self.trajectory_length / self.step_size).astype(jnp.result_type(int))
        count = jnp.maximum(count, 1)
        return HMC(
            self.logdensity_fn,
            self.trajectory_length / count,
            self.metric,
            count,  # pyright: ignore[reportArgumentType]
        )

    @property
    def gradients_per_step(self) -> Any:
        """The number of leapfrog steps."""
        return self.leapfrog().num_integration_steps

    def split_key(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Split as HMC does."""
        return self.leapfrog().split_key(key)

    def unit_gaussian(self) -> tuple[jax.Array, jax.Array]:
        """First row of the power of the leapfrog matrix, by its angle of rotation.

        With ``cos θ = 1 - ε²/2`` it is ``cos nθ`` and ``sin nθ / sqrt(1 - ε²/4)``. A step size of 2
        or more, where the powers grow, gives zeros: no model is better there.
        """
        kernel = self.leapfrog()
        stable = kernel.step_size < 2
        step_size = jnp.where(stable, kernel.step_size, 1.0)
        angle = kernel.num_integration_steps * jnp.arccos(1 - 0.5 * step_size**2)
        row = jnp.cos(angle), jnp.sin(angle) / jnp.sqrt(1 - 0.25 * step_size**2)
        return jnp.where(stable, row[0], 0.0), jnp.where(stable, row[1], 0.0)

    def transition(
        self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: Draw
    ) -> tuple[Flat, Any]:
        """Make the transition of the HMC kernel."""
        return self.leapfrog().transition(evaluate, state, draw)
