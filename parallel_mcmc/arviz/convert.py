"""From samples to what ArviZ diagnoses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import arviz as az
import xarray

from parallel_mcmc._errors import require_mapping
from parallel_mcmc._tree import PyTree
from parallel_mcmc.arviz.groups import (
    dotted,
    named,
    prior_groups,
    require_dims,
    shaped,
    warmup_groups,
)
from parallel_mcmc.arviz.results import contents_of, shape_of
from parallel_mcmc.arviz.stats import provenance, sample_stats, solver_stats, work_of
from parallel_mcmc.warmup import WarmupResult

DATA_TREE = int(az.__version__.split(".")[0]) >= 1


def to_arviz(
    samples: Any,
    *,
    position: PyTree | None = None,
    coords: Mapping[str, Sequence] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    log_likelihood: Mapping[str, Any] | bool | None = None,
    prior: Mapping[str, Any] | None = None,
    posterior_predictive: Mapping[str, Any] | None = None,
    predictions: Mapping[str, Any] | None = None,
    observed_data: Mapping[str, Any] | None = None,
    constant_data: Mapping[str, Any] | None = None,
    warmup: WarmupResult | None = None,
    **groups: Mapping[str, Any],
) -> Any:
    """Return samples as ArviZ wants them.

    The variables of the posterior are named after the leaves of the position: a dictionary gives
    its keys, nested ones are joined by dots (``"a.b"``), as are the parts of a name with slashes;
    a bare array is ``"x"``, the items of a tuple are ``"x.0"``, ``"x.1"``.

    The group ``sample_stats`` holds of every draw, under ArviZ's names, ``lp`` (log density, up to
    a constant), ``acceptance_rate``, ``diverging``, ``step_size``, ``n_steps`` (gradient
    evaluations of the transition itself), ``energy`` (that of the draw; not a number where the
    acceptance probability underflowed to 0), and besides ``accepted`` and ``accept_margin``
    (:class:`~parallel_mcmc.kernels.metropolis.TransitionInfo`), or the ``tree_depth`` of BlackJAX's
    NUTS. What a kernel does not report is left out: a Gibbs sampler, say, does not know its log
    density. Of every chain it holds how it was solved: whether it ``converged``, the
    ``newton_iterations``, the gradient ``evaluations``, the largest ``residual``, in posterior
    standard deviations, and ``fallback``, the draws that the plain loop had to make.

    Attributes tell the library and its version, the seconds of sampling, the steps of the warmup
    and the gradient evaluations of a draw.

    Parameters
    ----------
    samples
        What :func:`parallel_mcmc.sample` returned, or a :class:`parallel_mcmc.numpyro.MCMC` that
        has run. The latter gives the values of the model's sites, names dimensions after the
        model's plates, and adds the observed data and the draws of a warmup that were collected.
        Or the states and infos of a BlackJAX algorithm, a pair as
        :func:`parallel_mcmc.blackjax.run_inference_algorithm` returns it, with a leading axis of
        draws, or two of chains and draws; of the solver it tells nothing.
    position
        Values that take the place of ``samples.position``, such as a transform of it; leaves
        ``(num_chains, num_samples, ...)``.
    coords
        Coordinate values of named dimensions.
    dims
        Names of the dimensions of a variable, without chain and draw.
    log_likelihood
        Of every observation at every draw, ``(num_chains, num_samples, ...)``; for an ``MCMC``
        True computes it.
    prior
        Draws from the prior, leading axis their number, as ``numpyro.infer.Predictive`` has them.
        What is no variable of the posterior goes into the group ``prior_predictive``.
    posterior_predictive, predictions
        Draws of data, ``(num_chains, num_samples, ...)`` or flat, ``(num_chains * num_samples,
        ...)``, as ``numpyro.infer.Predictive`` has them.
    observed_data, constant_data
        Arrays by name.
    warmup
        Result of a warmup; gives the groups ``warmup_posterior`` and ``warmup_sample_stats`` if its
        draws were kept. ``position`` does not transform them.
    **groups
        More groups by name, each a dictionary of arrays.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        Depending on the installed ArviZ.

    Raises
    ------
    TypeError
        If ``samples``, ``warmup`` or a group is of another kind.
    ValueError
        If ``dims`` does not fit the variables, two leaves of the position would have one name, an
        array has a wrong shape, or a group is given that comes from the samples.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda q: -0.5 * jnp.sum(q["b"] ** 2), 0.5)
    >>> start = {"b": jnp.zeros((4, 2))}
    >>> samples = pmc.sample(
    ...     jax.random.key(0), kernel, start, 100, num_chains=4, progress_bar=False
    ... )
    >>> data = samples.to_arviz(coords={"place": ["here", "there"]}, dims={"b": ["place"]})
    >>> data["posterior"]["b"].dims
    ('chain', 'draw', 'place')
    >>> data["sample_stats"]["lp"].shape
    (4, 100)
    """
    taken = sorted({"posterior", "sample_stats"} & groups.keys())
    if taken:
        raise ValueError(f"groups must not hold {', '.join(taken)}: these come from the samples")
    given = {
        "coords": coords,
        "dims": dims,
        "log_likelihood": None if isinstance(log_likelihood, bool) else log_likelihood,
        "prior": prior,
        "posterior_predictive": posterior_predictive,
        "predictions": predictions,
        "observed_data": observed_data,
        "constant_data": constant_data,
    }
    for name, group in (given | groups).items():
        require_mapping(name, group)
    if warmup is not None and not isinstance(warmup, WarmupResult):
        raise TypeError(f"warmup must be a WarmupResult, got {type(warmup).__name__}: {warmup!r}")
    results = contents_of(samples, log_likelihood, warmup)
    samples, shape = results.samples, shape_of(results.samples)
    posterior = named(results.position if position is None else position)
    for name, values in posterior.items():
        if values.shape[:2] != shape:
            raise ValueError(
                f"position must have the leading axes {shape}, of chains and draws, got the shape "
                f"{values.shape} of {name!r}"
            )
    known = {
        "observed_data": observed_data or results.observed_data,
        "constant_data": constant_data,
        "log_likelihood": shaped("log_likelihood", results.log_likelihood, shape),
        "posterior_predictive": shaped("posterior_predictive", posterior_predictive, shape),
        "predictions": shaped("predictions", predictions, shape),
        **prior_groups(prior, posterior),
        **warmup_groups(results),
        **groups,
    }
    data = {"posterior": posterior, "sample_stats": sample_stats(samples)}
    data |= {name: named(group) for name, group in known.items() if group}
    library = provenance(results)
    attrs = {"posterior": library, "sample_stats": library | work_of(samples)}
    require_dims(dims or {}, data)
    all_dims = {dotted(name): list(values) for name, values in results.dims.items()}
    all_dims |= {dotted(name): list(values) for name, values in (dims or {}).items()}
    tree = _from_dict(
        data,
        attrs,
        coords={name: list(values) for name, values in (coords or {}).items()},
        dims=all_dims,
    )
    for name, values in solver_stats(samples).items():
        tree["sample_stats"][name] = xarray.DataArray(values, dims=["chain"])
    return tree


def _from_dict(data: dict, attrs: dict, **options: Any) -> Any:
    if DATA_TREE:
        return az.from_dict(data, attrs=attrs, save_warmup=True, **options)
    group_attrs = {f"{name}_attrs": values for name, values in attrs.items()}
    return az.from_dict(**data, **group_attrs, save_warmup=True, **options)
