"""Samples for ArviZ: ``InferenceData`` before ArviZ 1, ``xarray.DataTree`` from ArviZ 1 on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import arviz as az
import jax
import numpy as np
import xarray

import parallel_mcmc
from parallel_mcmc._errors import require_mapping
from parallel_mcmc._tree import PyTree, variable_names
from parallel_mcmc.sampling import Samples
from parallel_mcmc.warmup import WarmupResult

__all__ = ["to_arviz"]

DATA_TREE = int(az.__version__.split(".")[0]) >= 1


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
    results = _results(samples, log_likelihood, warmup)
    samples, shape = results.samples, _shape(results.samples)
    posterior = _named(results.position if position is None else position)
    for name, values in posterior.items():
        if values.shape[:2] != shape:
            raise ValueError(
                f"position must have the leading axes {shape}, of chains and draws, got the shape "
                f"{values.shape} of {name!r}"
            )
    known = {
        "observed_data": observed_data or results.observed_data,
        "constant_data": constant_data,
        "log_likelihood": _shaped("log_likelihood", results.log_likelihood, shape),
        "posterior_predictive": _shaped("posterior_predictive", posterior_predictive, shape),
        "predictions": _shaped("predictions", predictions, shape),
        **_prior_groups(prior, posterior),
        **_warmup_groups(results),
        **groups,
    }
    data = {"posterior": posterior, "sample_stats": _sample_stats(samples)}
    data |= {name: _named(group) for name, group in known.items() if group}
    library = _provenance(results)
    attrs = {"posterior": library, "sample_stats": library | _work(samples)}
    _require_dims(dims or {}, data)
    all_dims = {_dotted(name): list(values) for name, values in results.dims.items()}
    all_dims |= {_dotted(name): list(values) for name, values in (dims or {}).items()}
    tree = _from_dict(
        data,
        attrs,
        coords={name: list(values) for name, values in (coords or {}).items()},
        dims=all_dims,
    )
    for name, values in _solver_stats(samples).items():
        tree["sample_stats"][name] = xarray.DataArray(values, dims=["chain"])
    return tree


def _require_dims(dims: Mapping[str, Sequence[str]], data: Mapping[str, Mapping]) -> None:
    """Raise if ``dims`` names no variable, or more dimensions than it has."""
    for name, names in dims.items():
        found = [
            values.ndim - (0 if group.endswith("_data") else 2)
            for group, variables in data.items()
            for variable, values in variables.items()
            if variable == _dotted(name)
        ]
        if not found:
            raise ValueError(f"dims must be of variables of the data, got {name!r}")
        if len(names) > max(found):
            raise ValueError(
                f"dims[{name!r}] must name at most {max(found)} dimensions, chain and draw not "
                f"among them, got {list(names)}"
            )


def _from_dict(data: dict, attrs: dict, **options: Any) -> Any:
    if DATA_TREE:
        return az.from_dict(data, attrs=attrs, save_warmup=True, **options)
    group_attrs = {f"{name}_attrs": values for name, values in attrs.items()}
    return az.from_dict(**data, **group_attrs, save_warmup=True, **options)


def _results(samples: Any, log_likelihood: Any, warmup: WarmupResult | None) -> Results:
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


def _named(position: PyTree) -> dict[str, np.ndarray]:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(position)]
    return dict(zip(variable_names(position), leaves, strict=True))


def _dotted(name: str) -> str:
    # A slash would make a group of a netCDF file.
    return name.replace("/", ".")


def _shaped(
    group: str, arrays: Mapping[str, Any] | None, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return arrays with the leading axes chain and draw, which may be one."""

    def shaped(name: str, array: Any) -> np.ndarray:
        array = np.asarray(array)
        if array.shape[:2] == shape:
            return array
        if array.shape[:1] == (shape[0] * shape[1],):
            return array.reshape(*shape, *array.shape[1:])
        raise ValueError(
            f"{group} must have the leading axes {shape} or ({shape[0] * shape[1]},), got the "
            f"shape {array.shape} of {name!r}"
        )

    return {name: shaped(name, array) for name, array in (arrays or {}).items()}


def _prior_groups(
    prior: Mapping[str, Any] | None, posterior: Mapping[str, Any]
) -> dict[str, dict[str, np.ndarray]]:
    arrays = {name: np.asarray(array) for name, array in (prior or {}).items()}
    lengths = {array.shape[:1] for array in arrays.values()}
    if len(lengths) > 1 or () in lengths:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(f"prior must have arrays with one leading axis, of draws, got {shapes}")
    groups: dict[str, dict[str, np.ndarray]] = {"prior": {}, "prior_predictive": {}}
    for name, array in arrays.items():
        group = "prior" if _dotted(name) in posterior else "prior_predictive"
        groups[group][name] = array[None]
    return groups


def _warmup_groups(results: Results) -> dict[str, dict[str, np.ndarray]]:
    warmup = results.warmup
    if warmup is None or warmup.draws is None:
        return {}
    stats = _transition_stats(warmup.draws.info, warmup.draws.logdensity)
    return {
        "warmup_posterior": _named(results.warmup_position),
        "warmup_sample_stats": stats | {"step_size": np.asarray(warmup.step_sizes)},
    }


def _shape(samples: Samples | History) -> tuple[int, int]:
    """Return the numbers of chains and draws."""
    return np.shape(jax.tree.leaves(samples.position)[0])[:2]


def _sample_stats(samples: Samples | History) -> dict[str, np.ndarray]:
    stats = _transition_stats(samples.info, samples.logdensity)
    if samples.step_size is not None:
        step_size = np.asarray(samples.step_size)[:, None]
        stats["step_size"] = np.broadcast_to(step_size, _shape(samples))
    return stats


def _transition_stats(info: Any, logdensity: Any) -> dict[str, np.ndarray]:
    fields = {
        "acceptance_rate": "acceptance_rate",
        "diverging": "is_divergent",
        "n_steps": "num_integration_steps",
        "accepted": "is_accepted",
        "accept_margin": "accept_margin",
        "tree_depth": "num_trajectory_expansions",
    }
    stats = {name: getattr(info, field, None) for name, field in fields.items()}
    stats = {"lp": logdensity, "energy": _energy(info), **stats}
    return {name: np.asarray(value) for name, value in stats.items() if value is not None}


def _energy(info: Any) -> np.ndarray | None:
    """Return the energy of the draws: the info has that of the proposals, as BlackJAX's."""
    energy = getattr(info, "energy", None)
    accepted, rate = (getattr(info, name, None) for name in ("is_accepted", "acceptance_rate"))
    if energy is None or accepted is None:
        # That of NUTS, which accepts and rejects nothing, is the draw's own.
        return energy
    energy, rate = np.asarray(energy), np.asarray(rate)
    # A proposal with acceptance probability p < 1 has log p less energy to spare than the draw.
    with np.errstate(divide="ignore", invalid="ignore"):
        initial = energy + np.log(rate)
    initial = np.where(np.isfinite(initial), initial, np.nan)
    return np.where(accepted, energy, initial).astype(energy.dtype)


def _work(samples: Samples | History) -> dict[str, float]:
    if samples.stats is None:
        return {}
    evaluations = np.sum(samples.stats.gradient_evaluations) / np.prod(_shape(samples))
    return {"gradient_evaluations_per_draw": float(evaluations)}


def _solver_stats(samples: Samples | History) -> dict[str, np.ndarray]:
    """Return one number a chain."""
    stats = samples.stats
    if stats is None:
        return {}
    values = {
        "converged": stats.converged,
        "newton_iterations": stats.iterations,
        "evaluations": stats.gradient_evaluations,
        "residual": stats.residual,
        "fallback": stats.fallback_steps,
    }
    return {name: np.asarray(value) for name, value in values.items()}


def _provenance(results: Results) -> dict[str, Any]:
    attrs: dict[str, Any] = {
        "inference_library": "parallel_mcmc",
        "inference_library_version": parallel_mcmc.__version__,
    }
    if results.samples.sampling_time is not None:
        attrs["sampling_time"] = results.samples.sampling_time
    if results.warmup is not None:
        attrs["tuning_steps"] = len(results.warmup.acceptance_rate)
    return attrs


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
