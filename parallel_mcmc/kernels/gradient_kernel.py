"""What the Metropolis kernels with a gradient share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import preceding
from parallel_mcmc.kernels.metropolis import TransitionInfo
from parallel_mcmc.kernels.metropolis_kernel import MetropolisKernel
from parallel_mcmc.kernels.whitened import Flat, apparent_centre
from parallel_mcmc.solver.chart import Chart
from parallel_mcmc.solver.scans import diagonal_scan

# A decision of the Gaussian chain that is wrong at first is mended by the states before it, which
# are nearly right at once: later rounds change little.
DECISION_ROUNDS = 2


def gaussian_around(centre: jax.Array) -> Callable[[jax.Array], Flat]:
    """Return the evaluation of a unit Gaussian."""

    def evaluate(w: jax.Array) -> Flat:
        return Flat(w, -0.5 * jnp.sum((w - centre) ** 2), centre - w)

    return evaluate


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
        """Guess the coming states: the chain of this kernel on the Gaussian seen from ``state``.

        In whitened coordinates the posterior is close to ``N(m, I)``, and the gradient tells where
        m is: ``m = w + grad``. There a transition is affine once its decision is known, and the
        decisions come from the positions: at first all proposals are taken for accepted.
        """
        dtype = state.position.dtype
        contraction, gain = jax.vmap(self.unit_gaussian)(draws)
        noise = gain.astype(dtype)[:, None] * draws.normal
        centre = apparent_centre(state)

        evaluate = gaussian_around(centre)

        def chain(accepted: jax.Array) -> jax.Array:
            decay = jnp.where(accepted, contraction, 1).astype(dtype)[:, None]
            first = decay[0] * (state.position - centre)
            moves = jnp.where(accepted[:, None], noise, 0).at[0].add(first)
            return centre + diagonal_scan(decay, moves)

        def decide(_: jax.Array, positions: jax.Array) -> jax.Array:
            starts = preceding(state.position, positions)
            candidates = jax.vmap(lambda w, draw: self.propose(evaluate, evaluate(w), draw))(
                starts, draws
            )
            return chain(candidates.log_margin > 0)

        everywhere = jnp.ones(len(noise), bool)
        positions = jax.lax.fori_loop(0, DECISION_ROUNDS, decide, chain(everywhere))
        return jax.vmap(chart.place, in_axes=(None, 0))(state, positions)

    def imitate(self, state: Flat, draws: Any) -> Flat:
        """Return the coming states of this kernel on the Gaussian seen from ``state``.

        They are those of :meth:`predict`, made one after the other, so that every decision is that
        of the Gaussian chain.
        """
        evaluate = gaussian_around(apparent_centre(state))

        def move(now: Flat, draw: Any) -> tuple[Flat, Flat]:
            return (self.transition(evaluate, now, draw)[0],) * 2

        return jax.lax.scan(move, evaluate(state.position), draws)[1]
