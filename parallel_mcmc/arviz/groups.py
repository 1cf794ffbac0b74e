"""The groups of data that are given, with their axes and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from parallel_mcmc._tree import PyTree, variable_names
from parallel_mcmc.arviz.results import Results
from parallel_mcmc.arviz.stats import transition_stats


def named(position: PyTree) -> dict[str, np.ndarray]:
    """Return the leaves of a position by their names."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(position)]
    return dict(zip(variable_names(position), leaves, strict=True))


def dotted(name: str) -> str:
    """Return the name of a variable as ArviZ may have it."""
    # A slash would make a group of a netCDF file.
    return name.replace("/", ".")


def shaped(
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


def prior_groups(
    prior: Mapping[str, Any] | None, posterior: Mapping[str, Any]
) -> dict[str, dict[str, np.ndarray]]:
    """Return the groups of the draws from the prior, with an axis for their one chain."""
    arrays = {name: np.asarray(array) for name, array in (prior or {}).items()}
    lengths = {array.shape[:1] for array in arrays.values()}
    if len(lengths) > 1 or () in lengths:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(f"prior must have arrays with one leading axis, of draws, got {shapes}")
    groups: dict[str, dict[str, np.ndarray]] = {"prior": {}, "prior_predictive": {}}
    for name, array in arrays.items():
        group = "prior" if dotted(name) in posterior else "prior_predictive"
        groups[group][name] = array[None]
    return groups


def warmup_groups(results: Results) -> dict[str, dict[str, np.ndarray]]:
    """Return the groups of a warmup whose draws were kept."""
    warmup = results.warmup
    if warmup is None or warmup.draws is None:
        return {}
    stats = transition_stats(warmup.draws.info, warmup.draws.logdensity)
    return {
        "warmup_posterior": named(results.warmup_position),
        "warmup_sample_stats": stats | {"step_size": np.asarray(warmup.step_sizes)},
    }


def require_dims(dims: Mapping[str, Sequence[str]], data: Mapping[str, Mapping]) -> None:
    """Raise if ``dims`` names no variable, or more dimensions than it has."""
    for name, names in dims.items():
        found = [
            values.ndim - (0 if group.endswith("_data") else 2)
            for group, variables in data.items()
            for variable, values in variables.items()
            if variable == dotted(name)
        ]
        if not found:
            raise ValueError(f"dims must be of variables of the data, got {name!r}")
        if len(names) > max(found):
            raise ValueError(
                f"dims[{name!r}] must name at most {max(found)} dimensions, chain and draw not "
                f"among them, got {list(names)}"
            )
