"""HMC whose number of leapfrog steps follows from the step size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import STATIC, PyTree, pytree
from parallel_mcmc.kernels import HMC
from parallel_mcmc.kernels.gate import HARD_GATE, Gate
from parallel_mcmc.kernels.gradient_kernel import GradientKernel
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.kernels.metropolis import Candidate
from parallel_mcmc.kernels.metropolis_kernel import Draw
from parallel_mcmc.kernels.whitened import Flat


@pytree
@dataclasses.dataclass(frozen=True)
class TrajectoryHMC(GradientKernel):
    """HMC with trajectories of one length, as NumPyro has it.

    ``n = max(1, ceil(trajectory_length / step_size))`` leapfrog steps of
    ``trajectory_length / n``: the number changes while a warmup tunes the step size, and no new
    program is compiled for it. Where ``n`` would exceed ``most_steps``, there are that many of
    ``step_size`` and the trajectory is shorter.
    """

    logdensity_fn: Callable[[PyTree], jax.Array]
    step_size: jax.Array
    metric: Metric
    trajectory_length: jax.Array
    most_steps: int | None = dataclasses.field(default=None, metadata=STATIC)
    gate: Gate = HARD_GATE

    def leapfrog(self) -> HMC:
        """Return the HMC kernel with as many steps; their number may be traced."""
        # The bound comes first: beyond it the quotient need not be an integer that can be held.
        count = jnp.clip(jnp.ceil(self.trajectory_length / self.step_size), 1, self.most_steps)
        count = count.astype(jnp.result_type(int))
        return HMC(
            self.logdensity_fn,
            jnp.minimum(self.trajectory_length / count, self.step_size),
            self.metric,
            count,  # pyright: ignore[reportArgumentType]
            self.gate,
        )

    @property
    def gradients_per_step(self) -> Any:
        """The number of leapfrog steps."""
        return self.leapfrog().num_integration_steps

    @property
    def largest_step_size(self) -> Any:
        """The length of the trajectory, which is then one step."""
        return self.trajectory_length

    def unit_gaussian(self, draw: Draw) -> tuple[jax.Array, jax.Array]:
        """Return the map of the HMC kernel."""
        return self.leapfrog().unit_gaussian(draw)

    def propose(self, evaluate: Callable[[jax.Array], Flat], state: Flat, draw: Draw) -> Candidate:
        """Propose as the HMC kernel does."""
        return self.leapfrog().propose(evaluate, state, draw)
