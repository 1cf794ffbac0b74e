"""What NumPyro's ``MCMC`` collects, from the draws of the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from numpyro.util import is_prng_key

from parallel_mcmc import kernels
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.whitened import WhitenedKernel
from parallel_mcmc.numpyro.state import AdaptState, SamplerState, as_fields, transition_key

BATCH = 64
"""Draws whose sites are computed together: it bounds the memory."""

STATE_FIELDS = (
    "accept_margin",
    "accept_prob",
    "diverging",
    "energy",
    "i",
    "mean_accept_prob",
    "num_steps",
    "potential_energy",
)
"""Fields of a state that have one number a draw."""
ADAPT_FIELDS = (
    "adapt_state.inverse_mass_matrix",
    "adapt_state.mass_matrix_sqrt",
    "adapt_state.step_size",
)
GRADIENT_FIELD = "z_grad"


class History:
    """The draws of a run, or of a warmup, with NumPyro's names.

    Parameters
    ----------
    draws
        ``position``, ``logdensity`` and ``info`` of every draw, leaves
        ``(num_chains, num_draws, ...)``: samples or the draws of a warmup.
    kernel
        A kernel that made them; only what it draws matters.
    keys
        Of every draw, shape ``(num_chains, num_draws)`` at least; an interrupted run has more.
    before
        The states before the first draw, of several chains.
    energy_of
        From log density, random numbers and information of a transition to the energy after it; a
        function of a module.
    step_sizes
        Of every draw, shape ``(num_chains, num_draws)``; by default that of ``before``.
    """

    def __init__(
        self,
        draws: Any,
        kernel: WhitenedKernel,
        keys: jax.Array,
        before: SamplerState,
        energy_of: Callable,
        step_sizes: np.ndarray | None = None,
    ) -> None:
        self.draws = draws
        self._kernel = kernel
        self._count = draws.logdensity.shape[1]
        self._keys = keys[:, : self._count]
        self._before = before
        self._energy_of = energy_of
        self._step_sizes = step_sizes

    def kept(self, thinning: int) -> slice:
        """Return which draws to keep."""
        return kept_draws(self._count, thinning)

    def sites(self, kept: slice, constrain: Partial, removed: tuple[str, ...] = ()) -> PyTree:
        """Return the values of the sites but for ``removed``."""
        return sites_of(constrain, _take(self.draws.position, kept), removed)

    def fields(
        self, kept: slice, names: Sequence[str], logdensity: Partial | None = None
    ) -> dict[str, PyTree]:
        """Return the named fields; ``logdensity`` is for those with gradients."""
        info, before = self.draws.info, self._before
        rates = np.asarray(info.acceptance_rate)
        first = np.asarray(before.i)[:, None]
        i = first + np.arange(1, self._count + 1)
        total = first * np.asarray(before.mean_accept_prob)[:, None] + np.cumsum(rates, axis=1)
        values: dict[str, Any] = {
            "accept_margin": info.accept_margin,
            "accept_prob": rates,
            "diverging": info.is_divergent,
            "i": i,
            "mean_accept_prob": (total / i).astype(rates.dtype),
            "num_steps": info.num_integration_steps,
            "potential_energy": -self.draws.logdensity,
        }
        if isinstance(self.draws.position, dict):
            values |= {f"z.{name}": value for name, value in self.draws.position.items()}
        return {name: self._field(name, kept, values, logdensity) for name in names}

    def last(self, state: Any) -> dict[str, PyTree]:
        """Return the fields of the last states, ``adapt_state`` and ``rng_key`` excepted.

        ``state`` are the kernel's last states.
        """
        last = slice(self._count - 1, self._count)
        fields = {name: value[:, 0] for name, value in self.fields(last, STATE_FIELDS).items()}
        position = jax.tree.map(lambda leaf: jnp.asarray(leaf[:, -1]), self.draws.position)
        return fields | {"z": position, "z_grad": as_fields(state)["z_grad"]}

    def _field(
        self, name: str, kept: slice, values: dict[str, Any], logdensity: Partial | None
    ) -> PyTree:
        draws = self.draws
        if name == "energy":
            taken = _take((draws.position, draws.logdensity, draws.info), kept)
            return _energies(self._energy_of, self._kernel, *taken, self._keys[:, kept])
        if name == GRADIENT_FIELD:
            return _potential_gradients(logdensity, _take(draws.position, kept))
        if name == "adapt_state.step_size" and self._step_sizes is not None:
            return _take(self._step_sizes, kept)
        if name in ADAPT_FIELDS:
            num_kept = len(range(*kept.indices(self._count)))
            return jax.tree.map(
                lambda leaf: jnp.repeat(jnp.asarray(leaf)[:, None], num_kept, axis=1),
                attrgetter(name)(self._before),
            )
        return _take(values[name], kept)


def kept_draws(count: int, thinning: int) -> slice:
    """Return which of ``count`` draws to keep; as in NumPyro the last one is always among them."""
    return slice(count % thinning + thinning - 1, count, thinning)


@partial(jax.jit, static_argnums=2)
def sites_of(constrain: Partial, positions: PyTree, removed: tuple[str, ...] = ()) -> PyTree:
    """Return the values of the sites, but for ``removed``, at positions of all draws.

    Parameters
    ----------
    constrain
        From one unconstrained position to the values of the sites.
    positions
        Leaves ``(num_chains, num_draws, ...)``.
    removed
        Sites to leave out.
    """

    def sites(position: PyTree) -> PyTree:
        values = constrain(position)
        return {k: v for k, v in values.items() if k not in removed} if removed else values

    return _map_draws(sites, positions)


def with_chain_axis(state: SamplerState) -> SamplerState:
    """Return the state of one chain, or of several, as that of several."""
    if not is_prng_key(state.rng_key):
        return state
    return jax.tree.map(lambda leaf: leaf[None], state)


def differ(tuned: AdaptState) -> bool:
    """Whether the chains have step sizes or metrics of their own."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tuned)]
    return any((leaf != leaf[:1]).any() for leaf in leaves)


@partial(jax.jit, static_argnames="num_samples")
def transition_keys(state: SamplerState, num_samples: int) -> jax.Array:
    """Return the keys of the next transitions of several chains."""
    steps = state.i[:, None] + jnp.arange(num_samples)
    return jax.vmap(jax.vmap(transition_key, (None, 0)))(state.rng_key, steps)


def _take(tree: PyTree, kept: slice) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[:, kept]), tree)


@jax.jit
@full_precision()
def _potential_gradients(logdensity: Partial, positions: PyTree) -> PyTree:
    return _map_draws(jax.grad(lambda position: -logdensity(position)), positions)


@partial(jax.jit, static_argnums=0)
def _energies(
    energy_of: Callable,
    kernel: WhitenedKernel,
    positions: PyTree,
    logdensity: jax.Array,
    info: kernels.TransitionInfo,
    keys: jax.Array,
) -> jax.Array:
    def energy(draw: tuple) -> jax.Array:
        position, logdensity, info, key = draw
        return energy_of(logdensity, kernel.draw(key, position), info)

    return _map_draws(energy, (positions, logdensity, info, keys))


def _map_draws(function: Callable, draws: PyTree) -> PyTree:
    """Map over the two leading axes, chains and draws, a batch at a time."""
    num_chains, num_draws = jax.tree.leaves(draws)[0].shape[:2]
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), draws)
    out = jax.lax.map(function, flat, batch_size=BATCH)
    return jax.tree.map(lambda leaf: leaf.reshape(num_chains, num_draws, *leaf.shape[1:]), out)
