"""What a run of NumPyro's ``MCMC`` gives to ArviZ."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer import init_to_sample
from numpyro.infer.util import log_likelihood

from parallel_mcmc._tree import as_partial
from parallel_mcmc.arviz.results import Results, thinned
from parallel_mcmc.numpyro.history import kept_draws, sites_of
from parallel_mcmc.numpyro.mcmc import MCMC


def results_of(mcmc: MCMC, with_log_likelihood: bool) -> Results:
    """Return the samples of a run, and what its model tells of them.

    Parameters
    ----------
    mcmc
        A sampler that has run.
    with_log_likelihood
        Whether to compute the log likelihood of every observation at every draw.

    Raises
    ------
    TypeError
        If the kernel is not of this package.
    ValueError
        If the sampler has not run, or there is no model for the log likelihood.
    """
    if mcmc.samples is None:
        if mcmc.last_state is not None and mcmc.warmup_result is None:
            raise TypeError(
                "samples must be of a kernel of parallel_mcmc.numpyro: use arviz.from_numpyro for "
                f"those of {type(mcmc.sampler).__name__}"
            )
        raise ValueError("samples must be of an MCMC that has run, this one has not")
    values = mcmc.get_samples(group_by_chain=True)
    kept = kept_draws(mcmc.samples.logdensity.shape[1], mcmc.thinning)
    trace = _trace(mcmc)
    if with_log_likelihood and not trace:
        raise ValueError("log_likelihood must be False: potential_fn has no observations")
    observed = {
        name: np.asarray(site["value"])
        for name, site in trace.items()
        # A factor is an observation of nothing.
        if site["type"] == "sample" and site["is_observed"] and not _is_factor(site)
    }
    likelihood = {}
    if with_log_likelihood:
        likelihood = log_likelihood(
            mcmc.sampler.model, values, *mcmc._args, **mcmc._kwargs, batch_ndims=2
        )
        likelihood = {name: likelihood[name] for name in observed}
    warmup = mcmc.warmup_result
    before = None
    if warmup is not None and warmup.draws is not None:
        before = sites_of(_constrain(mcmc), jax.tree.map(jnp.asarray, warmup.draws.position))
    dims = {
        name: _plates(site)
        for name, site in trace.items()
        if site["type"] in ("sample", "deterministic")
    }
    return Results(
        samples=thinned(mcmc.samples, kept),
        position=values,
        warmup=warmup,
        warmup_position=before,
        observed_data=observed,
        log_likelihood=likelihood,
        dims={name: names for name, names in dims.items() if any(names)},
    )


def _constrain(mcmc: MCMC) -> Any:
    own = mcmc.postprocess_fn
    return as_partial(own or mcmc.sampler.postprocess_fn(mcmc._args, mcmc._kwargs))


def _trace(mcmc: MCMC) -> dict[str, dict]:
    """Run the model once; an empty trace if there is none."""
    if mcmc.sampler.model is None:
        return {}
    model = handlers.substitute(
        handlers.seed(mcmc.sampler.model, jax.random.key(0)), substitute_fn=init_to_sample
    )
    return handlers.trace(model).get_trace(*mcmc._args, **mcmc._kwargs)


def _is_factor(site: dict) -> bool:
    return isinstance(site["fn"], dist.Unit)


def _plates(site: dict) -> list[str | None]:
    """Return the plates of the batch dimensions, left to right; None where there is none."""
    frames = site["cond_indep_stack"]
    if site["type"] == "sample":
        batch_shape = site["fn"].batch_shape
    else:
        # A deterministic site does not say which of its dimensions are those of the plates.
        outermost = max((-frame.dim for frame in frames), default=0)
        batch_shape = jnp.shape(site["value"])[:outermost]
    names: list[str | None] = [None] * len(batch_shape)
    for frame in frames:
        if -frame.dim <= len(names) and batch_shape[frame.dim] == frame.size:
            # As the variables, whose names hold no slash in ArviZ.
            names[frame.dim] = frame.name.replace("/", ".")
    return names
