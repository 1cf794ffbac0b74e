"""Isokinetic dynamics: motion at unit speed, turned by the gradient.

The momentum ``u`` is a unit vector; kicks turn it towards the gradient (Steeg and Galstyan, arXiv
2111.02434, equation 9), drifts move along it. Used by microcanonical samplers (Robnik et al., arXiv
2212.08549).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from parallel_mcmc.kernels.whitened import Flat

# The minimal-norm integrator of McLachlan (1995): kick, drift, kick, drift, kick.
OUTER_KICK = 0.1931833275037836
MIDDLE_KICK = 1 - 2 * OUTER_KICK


def unit(v: jax.Array) -> jax.Array:
    """Return the vector ``v`` at length 1."""
    return v / jnp.linalg.norm(v)


def refresh(
    momentum: jax.Array, normal: jax.Array, time: jax.Array, length: jax.Array
) -> jax.Array:
    """Turn a unit momentum at random: it forgets its direction over a path of ``length``.

    Robnik and Seljak, arXiv 2303.18221, equation 16.
    """
    spread = jnp.sqrt(jnp.expm1(2 * time / length) / momentum.size)
    return unit(momentum + spread * normal)


def isokinetic_step(
    evaluate: Callable[[jax.Array], Flat], state: Flat, momentum: jax.Array, step_size: jax.Array
) -> tuple[Flat, jax.Array, jax.Array]:
    """Make one step of the minimal-norm integrator.

    Returns
    -------
    The next state, the next momentum, and the change of the kinetic energy.
    """
    momentum, first = _kick(momentum, state.logdensity_grad, OUTER_KICK * step_size)
    state = evaluate(state.position + 0.5 * step_size * momentum)
    momentum, second = _kick(momentum, state.logdensity_grad, MIDDLE_KICK * step_size)
    state = evaluate(state.position + 0.5 * step_size * momentum)
    momentum, third = _kick(momentum, state.logdensity_grad, OUTER_KICK * step_size)
    return state, momentum, first + second + third


def _kick(momentum: jax.Array, gradient: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Turn the momentum towards the gradient; return also the change of the kinetic energy."""
    size = jnp.sqrt(jnp.sum(gradient**2))
    direction = gradient / jnp.where(size > 0, size, 1)
    along = jnp.dot(momentum, direction, precision="highest")
    dim = momentum.size
    delta = time * size / (dim - 1)
    # exp(-δ) rather than cosh δ and sinh δ, which overflow where the gradient is large.
    zeta = jnp.exp(-delta)
    turned = direction * (1 - zeta) * (1 + zeta + along * (1 - zeta)) + 2 * zeta * momentum
    # cosh δ + e·u sinh δ, times 2 exp(-δ).
    growth = (1 + along) + (1 - along) * zeta**2
    return unit(turned), (dim - 1) * (delta - jnp.log(2) + jnp.log(growth))
