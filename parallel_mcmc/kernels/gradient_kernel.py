"""What the Metropolis kernels with a gradient share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc.kernels.metropolis import TransitionInfo
from parallel_mcmc.kernels.metropolis_kernel import MetropolisKernel
from parallel_mcmc.kernels.whitened import Flat
from parallel_mcmc.solver.chart import Chart
from parallel_mcmc.solver.scans import diagonal_scan


class GradientKernel(MetropolisKernel):
    """Base of the Metropolis kernels whose state is position, log density and gradient."""

    @abstractmethod
    def unit_gaussian(self, draw: Any) -> tuple[jax.Array, jax.Array]:
        """Return the proposal's linear map on a unit Gaussian.

        Two scalars: the factors of the whitened position and of the normal numbers.
        """

    def surrogate(
        self, state: Flat, draw: Any, next_state: Flat, info: TransitionInfo
    ) -> jax.Array:
        """Return the Jacobian on a unit Gaussian: the proposal's if accepted, else 1."""
        contraction, _ = self.unit_gaussian(draw)
        return jnp.where(info.is_accepted, contraction, 1.0).astype(state.position.dtype)

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
