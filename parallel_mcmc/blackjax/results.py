"""What a run of a BlackJAX algorithm gives to ArviZ."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from parallel_mcmc.arviz.results import History


def history_of(pair: tuple) -> History:
    """Return the states and infos of BlackJAX as draws of chains.

    Parameters
    ----------
    pair
        States and infos, all leaves with a leading axis of draws, or two of chains and draws.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If the states are those of one moment, or have more leading axes.
    """
    states: Any
    infos: Any
    states, infos = pair if len(pair) == 2 else (None, None)
    if not (hasattr(states, "position") and hasattr(states, "logdensity")):
        raise TypeError(
            "samples must be a pair of BlackJAX's states and infos, with a position and a "
            f"logdensity, got a tuple of {[type(part).__name__ for part in pair]}"
        )
    axes = np.ndim(states.logdensity)
    if axes not in (1, 2):
        raise ValueError(
            "samples must have one leading axis, of draws, or two, of chains and draws, got the "
            f"shape {np.shape(states.logdensity)} of logdensity"
        )

    def with_chain_axis(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], tree) if axes == 1 else tree

    return History(*map(with_chain_axis, (states.position, infos, states.logdensity)))
