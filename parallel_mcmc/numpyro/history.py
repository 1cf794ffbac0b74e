"""What NumPyro's ``MCMC`` collects, from the draws of :func:`parallel_mcmc.sample`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from parallel_mcmc import kernels
from parallel_mcmc._tree import PyTree
from parallel_mcmc.numpyro.state import energy_of
from parallel_mcmc.sampling import Samples

BATCH = 64
"""Draws whose sites are computed together: it bounds the memory."""

EXTRA_FIELDS = (
    "accept_margin",
    "accept_prob",
    "adapt_state.step_size",
    "diverging",
    "energy",
    "mean_accept_prob",
    "num_steps",
    "potential_energy",
)
"""Names that :meth:`History.fields` knows, besides ``"z.site"``."""


class History:
    """The draws of a run, with NumPyro's names.

    Parameters
    ----------
    samples
        The draws.
    kernel
        The kernel that made them.
    key
        The key given to :func:`parallel_mcmc.sample`.
    num_samples
        The number of draws asked for; an interrupted run has less.
    """

    def __init__(
        self,
        samples: Samples,
        kernel: kernels.HMC | kernels.MALA,
        key: jax.Array,
        num_samples: int,
    ) -> None:
        self._samples = samples
        self._kernel = kernel
        num_chains, self._count = samples.logdensity.shape
        self._keys = _draw_keys(key, num_chains, num_samples)[:, : self._count]

    def kept(self, thinning: int) -> slice:
        """Return which draws to keep; as in NumPyro the last one is always among them."""
        return slice(self._count % thinning + thinning - 1, self._count, thinning)

    def sites(self, kept: slice, constrain: Partial, removed: tuple[str, ...]) -> PyTree:
        """Return the values of the sites but for ``removed``."""
        return _sites(constrain, _take(self._samples.position, kept), removed)

    def fields(self, kept: slice, names: Sequence[str]) -> dict[str, PyTree]:
        """Return the named fields."""
        info = self._samples.info
        rates = info.acceptance_rate
        draws = np.arange(1, self._count + 1, dtype=rates.dtype)
        values: dict[str, Any] = {
            "accept_margin": info.accept_margin,
            "accept_prob": rates,
            "adapt_state.step_size": np.broadcast_to(self._kernel.step_size, rates.shape),
            "diverging": info.is_divergent,
            "mean_accept_prob": np.cumsum(rates, axis=1) / draws,
            "num_steps": info.num_integration_steps,
            "potential_energy": -self._samples.logdensity,
        }
        if isinstance(self._samples.position, dict):
            values |= {f"z.{name}": value for name, value in self._samples.position.items()}
        fields = {name: _take(values[name], kept) for name in names if name != "energy"}
        return fields | ({"energy": self._energy(kept)} if "energy" in names else {})

    def last(self) -> dict[str, PyTree]:
        """Return the fields of the last state, ``adapt_state`` and ``rng_key`` excepted."""
        names = [field for field in EXTRA_FIELDS if "." not in field]
        last = slice(self._count - 1, self._count)
        state = self._samples.final_state
        potential_grad = jax.tree.map(np.negative, state.logdensity_grad)
        return {name: value[:, 0] for name, value in self.fields(last, names).items()} | {
            "i": jnp.full(len(state.logdensity), self._count),
            "z": jax.tree.map(jnp.asarray, state.position),
            "z_grad": jax.tree.map(jnp.asarray, potential_grad),
        }

    def _energy(self, kept: slice) -> jax.Array:
        samples = self._samples
        draws = _take((samples.position, samples.logdensity, samples.info), kept)
        return _energies(self._kernel, *draws, self._keys[:, kept])


def _take(tree: PyTree, kept: slice) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[:, kept]), tree)


@partial(jax.jit, static_argnums=(1, 2))
def _draw_keys(key: jax.Array, num_chains: int, num_samples: int) -> jax.Array:
    """Return the keys with which :func:`parallel_mcmc.sample` makes its draws."""
    keys = key[None] if num_chains == 1 else jax.random.split(key, num_chains)
    return jax.vmap(partial(jax.random.split, num=num_samples))(keys)


@partial(jax.jit, static_argnums=2)
def _sites(constrain: Partial, positions: PyTree, removed: tuple[str, ...]) -> PyTree:
    def sites(position: PyTree) -> PyTree:
        values = constrain(position)
        return {k: v for k, v in values.items() if k not in removed} if removed else values

    return _map_draws(sites, positions)


@jax.jit
def _energies(
    kernel: kernels.HMC | kernels.MALA,
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
