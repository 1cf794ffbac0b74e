"""States of NumPyro's interface to the kernels, and the keys that go with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.util import is_prng_key

from parallel_mcmc._tree import STATIC, PyTree, pytree
from parallel_mcmc.kernels import TransitionInfo
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.kernels.metropolis_kernel import Draw
from parallel_mcmc.numpyro.metric import Block, mass_matrix_sqrt, split_by_block


@pytree
@dataclasses.dataclass(frozen=True)
class AdaptState:
    """What the warmup has tuned, with the names of NumPyro's ``HMCAdaptState``.

    With several chains ``step_size`` and the leaves of ``metric`` have a leading axis.
    """

    step_size: jax.Array
    metric: Metric
    """The inverse mass matrix in the form in which the kernels use it."""
    blocks: tuple[Block, ...] | None = dataclasses.field(metadata=STATIC)
    """Of the mass matrix of a model; None for a potential energy, whose matrix is an array."""

    @property
    def inverse_mass_matrix(self) -> PyTree:
        """As in NumPyro: by the names of the sites of each block, or an array."""
        return self._of_metric(lambda metric: self._split(metric.inverse_mass_matrix()))

    @property
    def mass_matrix_sqrt(self) -> PyTree:
        """S with the mass matrix ``S S'``, like :attr:`inverse_mass_matrix`."""
        return self._of_metric(
            lambda metric: jax.tree.map(mass_matrix_sqrt, self._split(metric.inverse_mass_matrix()))
        )

    def chain(self, index: int) -> AdaptState:
        """Return that of one of several chains."""
        return jax.tree.map(lambda leaf: leaf[index], self)

    def _split(self, matrix: jax.Array) -> PyTree:
        return matrix if self.blocks is None else split_by_block(self.blocks, matrix)

    def _of_metric(self, function: Callable[[Metric], PyTree]) -> PyTree:
        return (jax.vmap(function) if jnp.ndim(self.step_size) else function)(self.metric)


class SamplerState(NamedTuple):
    """State of a chain, named as NumPyro's ``HMCState``.

    The states of several chains have the chain as leading axis of every leaf.
    """

    i: jax.Array
    """Transitions made since the warmup."""
    z: PyTree
    """Unconstrained position."""
    z_grad: PyTree
    """Gradient of the potential energy; None if the kernel takes none."""
    potential_energy: jax.Array
    energy: jax.Array
    """Potential and kinetic energy at the end of the last transition."""
    num_steps: jax.Array
    """Leapfrog steps of the last transition, or its proposals."""
    accept_prob: jax.Array
    """Acceptance probability of the last proposal."""
    mean_accept_prob: jax.Array
    diverging: jax.Array
    """Whether the last proposal's energy error exceeded 1000, or was not a number."""
    accept_margin: jax.Array
    """Distance of the last accept decision from a tie, ``|log α - log u|``."""
    adapt_state: AdaptState
    rng_key: jax.Array
    """Key of the chain; with ``i`` it gives the key of the next transition."""


def transition_key(rng_key: jax.Array, i: jax.Array) -> jax.Array:
    """Return the key of transition ``i`` of the chain with ``rng_key``.

    Not by splitting from step to step, so that all keys of a chain can be had in one batch.
    """
    return jax.random.fold_in(rng_key, i)


def as_fields(state: Any) -> dict[str, Any]:
    """Return what a kernel's state holds, with the names and signs of :class:`SamplerState`."""
    gradient = getattr(state, "logdensity_grad", None)
    return {
        "z": state.position,
        "z_grad": jax.tree.map(jnp.negative, gradient),
        "potential_energy": -state.logdensity,
    }


def energy_of(logdensity: jax.Array, draw: Draw, info: TransitionInfo) -> jax.Array:
    """Return potential and kinetic energy after a transition, as NumPyro records it.

    The transition's own record is the proposal's energy. After a rejection it is the one before:
    that of the old position and of the momentum drawn.
    """
    return jnp.where(info.is_accepted, info.energy, -logdensity + 0.5 * jnp.sum(draw.normal**2))


def potential_energy_of(logdensity: jax.Array, draw: Draw, info: TransitionInfo) -> jax.Array:
    """Return the energy after a transition that draws no momentum."""
    return -logdensity


def first_state(state: Any, tuned: AdaptState, keys: jax.Array) -> SamplerState:
    """Return the state of chains that have made no transition yet."""
    zero = jnp.zeros_like(state.logdensity)
    count = jnp.zeros(zero.shape, int)
    return SamplerState(
        i=count,
        **as_fields(state),
        energy=-state.logdensity,
        num_steps=count,
        accept_prob=zero,
        mean_accept_prob=zero,
        diverging=jnp.zeros(zero.shape, bool),
        accept_margin=zero,
        adapt_state=tuned,
        rng_key=keys,
    )


def first_key(keys: jax.Array) -> jax.Array:
    """Return the key of the first chain, or that of the only one."""
    return keys if is_prng_key(keys) else keys[0]


@partial(jax.jit, static_argnames="num")
def split_keys(keys: jax.Array, num: int) -> jax.Array:
    """Split one key, or the key of every chain, in ``num`` parts: the leading axis."""
    if is_prng_key(keys):
        return jax.random.split(keys, num)
    return jax.vmap(partial(jax.random.split, num=num), out_axes=1)(keys)
