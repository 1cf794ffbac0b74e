"""How a part of a warmup is run: by any runner of the driver, every chain with its step size."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, pytree
from parallel_mcmc.kernels.base import BoundKernel, Kernel
from parallel_mcmc.kernels.chain import Chain, ChainStats, Runner, Sequential, map_chains
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.warmup.schedule import LONG_BLOCK, SHORT_BLOCK


def sizes(runner: Runner) -> tuple[int, ...]:
    """Return the numbers of steps that a runner makes in one go.

    The plain loop makes one after the other. A parallel solve is compiled for its length: for two.
    """
    return (1,) if isinstance(runner, Sequential) else (SHORT_BLOCK, LONG_BLOCK)


@pytree
@dataclasses.dataclass(frozen=True)
class _InItsCoordinates:
    """A kernel whose states are those of its recurrence, for the runners.

    To and fro once a part, states would gather rounding errors.
    """

    kernel: Any
    example: PyTree
    """A position of one chain."""

    def bind(self, position: PyTree) -> BoundKernel:
        """Return the kernel as the runners take it."""
        bound = self.kernel.bind(self.example)
        return bound._replace(enter=lambda state: state, leave=lambda state: state)


def run_part(
    runner: Runner,
    kernel: Any,
    example: PyTree,
    step_size: jax.Array,
    metric: Metric,
    states: PyTree,
    keys: jax.Array,
) -> Chain:
    """Run every chain with its own step size, by ``keys`` of shape ``(num_chains, n)``."""

    def run(chain: tuple) -> Chain:
        step_size, state, keys = chain
        tuned = dataclasses.replace(kernel, step_size=step_size, metric=metric)
        return runner.run(cast(Kernel, _InItsCoordinates(tuned, example)), state, keys)

    return map_chains(runner, run, (step_size, states, keys))


def joined(stats: ChainStats, more: ChainStats) -> ChainStats:
    """Return the statistics of two parts together."""
    return ChainStats(
        converged=stats.converged & more.converged,
        iterations=stats.iterations + more.iterations,
        gradient_evaluations=stats.gradient_evaluations + more.gradient_evaluations,
        residual=jnp.maximum(stats.residual, more.residual),
        fallback_steps=stats.fallback_steps + more.fallback_steps,
    )
