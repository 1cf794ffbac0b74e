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

        def body(_: jax.Array, now: tuple[Flat, jax.Array]) -> tuple[Flat, jax.Array]:
            return leapfrog_step(evaluate, *now, step_size=step_size)

        return jax.lax.fori_loop(0, num_steps, body, (state, momentum))


LEAPFROG = Leapfrog()
