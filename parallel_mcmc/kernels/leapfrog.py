"""Leapfrog integration in whitened coordinates, with unit mass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax

from parallel_mcmc._tree import pytree
from parallel_mcmc.kernels.whitened import Flat


class Integrator(Protocol):
    """Integrates Hamilton's equations from a state and a momentum."""

    def run(
        self,
        evaluate: Callable[[jax.Array], Flat],
        state: Flat,
        momentum: jax.Array,
        step_size: jax.Array,
        num_steps: jax.Array | int,
        longest: int,
    ) -> tuple[Flat, jax.Array]:
        """Return the state and the momentum after ``num_steps`` steps, of ``longest`` at most."""
        ...


def leapfrog_step(
    evaluate: Callable[[jax.Array], Flat], state: Flat, momentum: jax.Array, step_size: jax.Array
) -> tuple[Flat, jax.Array]:
    """Make one velocity Verlet step: half a kick, a drift, half a kick."""
    momentum = momentum + 0.5 * step_size * state.logdensity_grad
    state = evaluate(state.position + step_size * momentum)
    return state, momentum + 0.5 * step_size * state.logdensity_grad


@pytree
@dataclasses.dataclass(frozen=True)
class Leapfrog:
    """One leapfrog step after the other."""

    def run(
        self,
        evaluate: Callable[[jax.Array], Flat],
        state: Flat,
        momentum: jax.Array,
        step_size: jax.Array,
        num_steps: jax.Array | int,
        longest: int,
    ) -> tuple[Flat, jax.Array]:
        """Return the state and the momentum after ``num_steps`` steps, of ``longest`` at most."""

        # What the loop does not carry is not computed: only the last step needs the log density.
        def body(_: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            position, gradient, momentum = now
            start = state._replace(position=position, logdensity_grad=gradient)
            end, momentum = leapfrog_step(evaluate, start, momentum, step_size)
            return end.position, end.logdensity_grad, momentum

        now = state.position, state.logdensity_grad, momentum
        position, gradient, momentum = jax.lax.fori_loop(0, num_steps - 1, body, now)
        start = state._replace(position=position, logdensity_grad=gradient)
        return leapfrog_step(evaluate, start, momentum, step_size)


LEAPFROG = Leapfrog()
