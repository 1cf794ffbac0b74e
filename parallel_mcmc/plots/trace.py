"""What the chains drew, and whether they agree."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import arviz as az
import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from parallel_mcmc._errors import require_positive_int
from parallel_mcmc.plots.style import COLOURS, GREY, new_axes
from parallel_mcmc.sampling import Samples


def plot_trace(data: Any, *, var_names: Sequence[str] | None = None, max_rows: int = 5) -> Figure:
    """Draw traces and ranks of the variables, those with the largest R-hat first.

    On the left every chain is drawn against the number of the draw. On the right is the histogram
    of its ranks among the draws of all chains: chains that agree have flat ones.

    Parameters
    ----------
    data
        What :func:`parallel_mcmc.sample` or :func:`parallel_mcmc.arviz.to_arviz` returned, or other
        ArviZ data with a posterior.
    var_names
        Variables to draw; all by default. Every element of an array counts as a variable.
    max_rows
        Number of variables drawn at most.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If ``var_names`` has a name that the posterior has not.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter and Bürkner, Rank-normalization, folding, and localization:
    an improved R-hat, Bayesian Analysis 16(2), 2021, arXiv 1903.08008.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda q: -0.5 * jnp.sum(q["b"] ** 2), 0.5)
    >>> start = {"b": jnp.zeros((4, 2))}
    >>> samples = pmc.sample(
    ...     jax.random.key(0), kernel, start, 100, num_chains=4, progress_bar=False
    ... )
    >>> len(plot_trace(samples).axes)
    4
    """
    max_rows = require_positive_int("max_rows", max_rows)
    if isinstance(data, Samples):
        data = data.to_arviz()
    posterior = data["posterior"]
    names = list(posterior.data_vars) if var_names is None else list(var_names)
    unknown = [name for name in names if name not in posterior.data_vars]
    if unknown:
        raise ValueError(f"var_names must be of {list(posterior.data_vars)}, got {unknown}")
    scalars = {label: draws for name in names for label, draws in _scalars(name, posterior[name])}
    rhat = {label: _rhat(draws) for label, draws in scalars.items()}
    # What does not vary has no R-hat and comes last.
    worst = sorted(rhat, key=lambda label: -np.nan_to_num(rhat[label]))[:max_rows]

    figure = Figure(figsize=(9, 0.9 + 1.5 * len(worst)), layout="constrained")
    axes = figure.subplots(len(worst), 2, squeeze=False, width_ratios=(1.7, 1))
    for (left, right), label in zip(axes, worst, strict=True):
        _draw_traces(left, scalars[label])
        _draw_ranks(right, scalars[label])
        left.set_title(label, loc="left", fontsize="medium", fontweight="bold")
        if np.isfinite(rhat[label]):
            left.set_title(f"R-hat {rhat[label]:.4f}", loc="right", fontsize="medium", color=GREY)
        for ax in (left, right):
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(labelbottom=label == worst[-1])
    axes[-1, 0].set_xlabel("draw")
    axes[-1, 1].set_xlabel("rank among the draws of all chains")
    axes[0, 1].set_title("ranks, 1 = uniform", loc="left", fontsize="medium")
    lines = axes[0, 0].get_lines()
    if len(lines) > 1:
        legend = figure.legend(
            handles=lines, loc="outside lower center", ncols=min(len(lines), 8), frameon=False
        )
        for line in legend.get_lines():
            line.set_linewidth(2)
    return figure


def _scalars(name: str, variable: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the elements of a variable by their labels, each of shape ``(chain, draw)``."""
    dims = [dim for dim in variable.dims if dim not in ("chain", "draw")]
    values = variable.transpose("chain", "draw", *dims).values
    coordinates = [variable.coords[dim].values for dim in dims]
    for index in np.ndindex(values.shape[2:]):
        where = ", ".join(str(values[i]) for values, i in zip(coordinates, index, strict=True))
        yield (f"{name}[{where}]" if where else name), values[(..., *index)]


def _rhat(draws: np.ndarray) -> float:
    """Return the rank-normalised R-hat; that of the halves of a chain that is alone."""
    if len(draws) == 1:
        half = draws.shape[1] // 2
        draws = draws[:, : 2 * half].reshape(2, half)
    if draws.shape[1] < 4 or not np.ptp(draws):
        return np.nan
    return float(az.rhat(np.asarray(draws, dtype=float)))


def _draw_traces(ax: Axes, draws: np.ndarray) -> None:
    for chain, colour in zip(range(len(draws)), itertools.cycle(COLOURS), strict=False):
        ax.plot(draws[chain], color=colour, linewidth=0.5, alpha=0.75, label=f"chain {chain}")
    ax.margins(x=0)


def _draw_ranks(ax: Axes, draws: np.ndarray, bins: int = 20) -> None:
    chains, length = draws.shape
    bins = min(bins, length)
    _, inverse, counts = np.unique(draws, return_inverse=True, return_counts=True)
    # Equal draws share the mean of their ranks.
    ranks = (np.cumsum(counts) - counts / 2)[inverse].reshape(draws.shape)
    edges = np.linspace(0, draws.size, bins + 1)
    for chain, colour in zip(range(chains), itertools.cycle(COLOURS), strict=False):
        counts, _ = np.histogram(ranks[chain], edges)
        ax.stairs(counts * bins / length, edges, color=colour, linewidth=1.3, baseline=None)
    ax.axhline(1, color=GREY, linestyle="--", linewidth=1, zorder=0)
    ax.set_ylim(0, None)
    ax.margins(x=0)


def plot_overlay(
    parallel: Samples,
    sequential: Samples,
    *,
    chain: int = 0,
    index: int = 0,
    draws: int = 200,
    ax: Axes | None = None,
) -> Axes:
    """Draw a chain of the parallel solver over the same one of the plain loop.

    Parameters
    ----------
    parallel, sequential
        Samples with the same keys.
    chain
        Which chain.
    index
        Which entry of the flattened position.
    draws
        How many of the first draws.
    ax
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the samples have different shapes, or ``chain`` or ``index`` is out of range.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> both = [
    ...     pmc.sample(
    ...         jax.random.key(0), kernel, jnp.zeros(2), 100, solver=solver, progress_bar=False
    ...     )
    ...     for solver in ("parallel", "sequential")
    ... ]
    >>> plot_overlay(*both).get_xlabel()
    'draw'
    """
    draws = require_positive_int("draws", draws)
    ours, theirs = (_flat(samples) for samples in (parallel, sequential))
    if ours.shape != theirs.shape:
        raise ValueError(
            f"parallel and sequential must have equal shapes, got {ours.shape} and {theirs.shape}"
        )
    for name, value, size in [("chain", chain, len(ours)), ("index", index, ours.shape[2])]:
        if not 0 <= value < size:
            raise ValueError(f"{name} must be from 0 to {size - 1}, got {value}")
    ax = new_axes(ax, width=9, height=3)
    line, dots = theirs[chain, :draws, index], ours[chain, :draws, index]
    ax.plot(line, color=GREY, lw=1, label="plain loop")
    ax.plot(dots, color=COLOURS[0], marker="o", ms=3, lw=0, label="parallel solver")
    ax.margins(x=0.01)
    ax.set_xlabel("draw")
    ax.set_ylabel(f"position[{index}]")
    difference = np.abs(ours[chain, :, index] - theirs[chain, :, index]).max()
    ax.set_title(f"largest difference {difference:.0e}", loc="right", fontsize="medium", color=GREY)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=2)
    return ax


def _flat(samples: Samples) -> np.ndarray:
    """Return the positions, shape ``(num_chains, num_draws, D)``."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(samples.position)]
    return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)
