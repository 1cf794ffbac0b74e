"""Samples for ArviZ: ``InferenceData`` before ArviZ 1, ``xarray.DataTree`` from ArviZ 1 on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import arviz as az
import jax
import numpy as np

import parallel_mcmc
from parallel_mcmc._tree import PyTree
from parallel_mcmc.sampling import Samples

__all__ = ["to_arviz"]

DATA_TREE = int(az.__version__.split(".")[0]) >= 1


def to_arviz(
    samples: Samples,
    *,
    position: PyTree | None = None,
    coords: Mapping[str, Sequence] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    **groups: Mapping[str, Any],
) -> Any:
    """Return samples as ArviZ wants them.

    The variables of the posterior are named after the leaves of the position: a dictionary gives
    its keys, nested ones are joined by dots (``"a.b"``), as are the parts of a name with slashes;
    a bare array is ``"x"``, the items of a tuple are ``"x.0"``, ``"x.1"``.

    The group ``sample_stats`` holds, under ArviZ's names, ``lp`` (log density of the draw, up to a
    constant), ``acceptance_rate``, ``diverging``, ``n_steps`` (gradient evaluations of the
    transition itself), ``energy`` (that of the draw; not a number where the acceptance
    probability underflowed to 0), and besides ``accepted`` and ``accept_margin``
    (:class:`~parallel_mcmc.kernels.metropolis.TransitionInfo`). What a kernel does not report is
    left out. The attributes of the group tell how the chains were solved: for every chain whether
    it ``converged``, ``newton_iterations``, ``gradient_evaluations`` and ``fallback_steps``, and
    ``gradient_evaluations_per_draw`` over all.

    Parameters
    ----------
    samples
        What :func:`parallel_mcmc.sample` returned.
    position
        Values that take the place of ``samples.position``, such as a transform of it; leaves
        ``(num_chains, num_samples, ...)``.
    coords
        Coordinate values of named dimensions.
    dims
        Names of the dimensions of a variable, without chain and draw.
    **groups
        More groups by name, each a dictionary of arrays: ``observed_data={"y": y}``,
        ``posterior_predictive=...``, ``log_likelihood=...``.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        Depending on the installed ArviZ.

    Raises
    ------
    ValueError
        If two leaves of the position would have one name, or a group is given that comes from
        the samples.

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
    data = {
        "posterior": _named(samples.position if position is None else position),
        "sample_stats": _sample_stats(samples),
        **{name: dict(group) for name, group in groups.items()},
    }
    library = {
        "inference_library": "parallel_mcmc",
        "inference_library_version": parallel_mcmc.__version__,
    }
    attrs = {"posterior": library, "sample_stats": library | _solver_attributes(samples)}
    coords = {name: list(values) for name, values in (coords or {}).items()}
    dims = {name: list(values) for name, values in (dims or {}).items()}
    if DATA_TREE:
        return az.from_dict(data, coords=coords, dims=dims, attrs=attrs)
    group_attrs = {f"{name}_attrs": values for name, values in attrs.items()}
    return az.from_dict(**data, coords=coords, dims=dims, **group_attrs)


def _named(position: PyTree) -> dict[str, np.ndarray]:
    variables: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(position):
        # A slash would make a group of a netCDF file.
        name = jax.tree_util.keystr(path, simple=True, separator=".").replace("/", ".")
        if not name or name[0].isdigit():
            name = f"x.{name}" if name else "x"
        if name in variables:
            raise ValueError(f"position must give every variable a name of its own, got {name!r}")
        variables[name] = np.asarray(leaf)
    return variables


def _sample_stats(samples: Samples) -> dict[str, np.ndarray]:
    info = samples.info
    fields = {
        "acceptance_rate": "acceptance_rate",
        "diverging": "is_divergent",
        "n_steps": "num_integration_steps",
        "accepted": "is_accepted",
        "accept_margin": "accept_margin",
    }
    stats = {name: getattr(info, field, None) for name, field in fields.items()}
    stats = {"lp": samples.logdensity, "energy": _energy(info), **stats}
    return {name: np.asarray(value) for name, value in stats.items() if value is not None}


def _energy(info: Any) -> np.ndarray | None:
    """Return the energy of the draws: the info has that of the proposals, as BlackJAX's."""
    try:
        energy, accepted, rate = info.energy, info.is_accepted, info.acceptance_rate
    except AttributeError:
        return None
    energy, rate = np.asarray(energy), np.asarray(rate)
    # A proposal with acceptance probability p < 1 has log p less energy to spare than the draw.
    with np.errstate(divide="ignore", invalid="ignore"):
        initial = energy + np.log(rate)
    initial = np.where(np.isfinite(initial), initial, np.nan)
    return np.where(accepted, energy, initial).astype(energy.dtype)


def _solver_attributes(samples: Samples) -> dict[str, Any]:
    """Return integers and floats only, since netCDF has no booleans."""
    stats = jax.tree.map(np.asarray, samples.stats)
    draws = samples.logdensity.size
    return {
        "converged": stats.converged.astype(np.int64),
        "newton_iterations": stats.iterations.astype(np.int64),
        "gradient_evaluations": stats.gradient_evaluations.astype(np.int64),
        "gradient_evaluations_per_draw": float(stats.gradient_evaluations.sum() / draws),
        "fallback_steps": stats.fallback_steps.astype(np.int64),
    }
