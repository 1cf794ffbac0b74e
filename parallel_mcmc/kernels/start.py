"""Where chains start: their states, checked."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from parallel_mcmc._errors import require_arrays, require_finite
from parallel_mcmc._tree import PyTree, any_traced
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.solver.chart import is_real


def initial_states(
    kernel: Kernel, initial_position: PyTree, num_chains: int, keys: jax.Array | None = None
) -> PyTree:
    """Return the states at ``initial_position``, with a leading axis of ``num_chains``.

    Parameters
    ----------
    kernel
        A transition kernel.
    initial_position
        A position; with ``num_chains > 1`` one for each chain along a leading axis of its leaves.
    num_chains
        Number of chains.
    keys
        A key for every chain, for kernels whose first state is random.

    Raises
    ------
    TypeError
        If a leaf is no array.
    ValueError
        If a leaf has another leading axis or a non-finite number, or if the log density or its
        gradient is not finite; the message names the chains. Traced numbers are not looked at.
    """
    positions = require_arrays("initial_position", initial_position)
    if not jax.tree.leaves(positions):
        raise ValueError("initial_position must be a pytree of floating-point arrays, got no array")
    shapes = [leaf.shape for leaf in jax.tree.leaves(positions)]
    if num_chains > 1 and any(not shape or shape[0] != num_chains for shape in shapes):
        raise ValueError(
            f"initial_position must have a leading axis of num_chains = {num_chains} in every "
            f"leaf, got shapes {shapes}"
        )
    require_finite("initial_position", positions)
    states = _init(kernel, positions, keys, num_chains == 1)
    if any_traced(states):
        return states
    finite = np.all(
        [
            np.isfinite(leaf).reshape(num_chains, -1).all(1)
            for leaf in jax.device_get([s for s in jax.tree.leaves(states) if is_real(s)])
        ],
        axis=0,
    )
    if not finite.all():
        raise ValueError(
            "initial_position must have a finite log density and gradient, but not so in chain "
            f"{np.flatnonzero(~finite).tolist()}: log density "
            f"{np.asarray(getattr(states, 'logdensity', None))}"
        )
    return states


# One compiled call: between two, a host that has just waited for a chain takes milliseconds.
@partial(jax.jit, static_argnums=3)
def _init(kernel: Kernel, positions: PyTree, keys: jax.Array | None, single: bool) -> PyTree:
    if single:
        positions = jax.tree.map(lambda leaf: leaf[None], positions)
    positions = _strong(positions)
    if keys is None:
        return _strong(jax.vmap(lambda position: kernel.init(position))(positions))
    return _strong(jax.vmap(kernel.init)(positions, keys))


def _strong(tree: PyTree) -> PyTree:
    """Return the same numbers without JAX's mark of a weak type, which a Python number leaves.

    No later state of the chain has it: the first segment would be compiled apart from the rest.
    """

    def strong(leaf: jax.Array) -> jax.Array:
        return jax.lax.convert_element_type(leaf, leaf.dtype) if leaf.weak_type else leaf

    return jax.tree.map(strong, tree)
