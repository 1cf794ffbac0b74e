"""What there is to convert, whatever the samples come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from parallel_mcmc._tree import PyTree
from parallel_mcmc.sampling import Samples
from parallel_mcmc.warmup import WarmupResult


class History(NamedTuple):
    """Draws of which nothing is known but their states and infos, as :class:`Samples` has them."""

    position: PyTree
    info: PyTree
    logdensity: Any
    stats: None = None
    step_size: None = None
    sampling_time: None = None


class Results(NamedTuple):
    """What an adapter knows of its samples."""

    samples: Samples | History
    """The draws that are kept."""
    position: PyTree
    """Values of the posterior's variables, leaves ``(num_chains, num_draws, ...)``."""
    warmup: WarmupResult | None
    warmup_position: PyTree
    """Values of the variables during the warmup; None if its draws were not kept."""
    observed_data: Mapping[str, Any]
    log_likelihood: Mapping[str, Any]
    dims: Mapping[str, Sequence[str | None]]
    """Names of dimensions that the model gives."""


def contents_of(samples: Any, log_likelihood: Any, warmup: WarmupResult | None) -> Results:
    """Return what there is to convert, whatever it comes from."""
    if isinstance(samples, tuple):
        from parallel_mcmc.blackjax.results import history_of

        samples = history_of(samples)
    if isinstance(samples, Samples | History):
        if isinstance(log_likelihood, bool):
            raise ValueError("log_likelihood must be a dictionary of arrays: samples have no model")
        before = None if warmup is None or warmup.draws is None else warmup.draws.position
        return Results(samples, samples.position, warmup, before, {}, log_likelihood or {}, {})
    from parallel_mcmc.numpyro import MCMC
    from parallel_mcmc.numpyro.results import results_of

    if not isinstance(samples, MCMC):
        raise TypeError(
            "samples must be those of parallel_mcmc.sample, a parallel_mcmc.numpyro.MCMC, or a "
            "pair of BlackJAX's states and infos, got "
            f"{type(samples).__module__}.{type(samples).__name__}"
        )
    if warmup is not None:
        raise ValueError("warmup must be left out: the MCMC holds its own")
    results = results_of(samples, bool(log_likelihood) and not isinstance(log_likelihood, Mapping))
    if isinstance(log_likelihood, Mapping):
        results = results._replace(log_likelihood=log_likelihood)
    return results


def shape_of(samples: Samples | History) -> tuple[int, int]:
    """Return the numbers of chains and draws."""
    return np.shape(jax.tree.leaves(samples.position)[0])[:2]


def thinned(samples: Samples, kept: slice) -> Samples:
    """Return samples with a part of the draws."""

    def take(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[:, kept], tree)

    return dataclasses.replace(
        samples,
        position=take(samples.position),
        info=take(samples.info),
        logdensity=None if samples.logdensity is None else take(samples.logdensity),
    )
