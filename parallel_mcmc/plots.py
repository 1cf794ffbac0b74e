"""Pictures of how a chain was solved and of what it drew.

The figures are made without pyplot, so that no window opens and nothing has to be closed; save one
by ``figure.savefig("trace.png")``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import arviz as az
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from parallel_mcmc._errors import require_positive_int
from parallel_mcmc.sampling import Samples

__all__ = ["plot_convergence", "plot_trace"]

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^Dv<>"
GREY = "0.45"


def plot_convergence(
    residual_history: ArrayLike | Mapping[str, ArrayLike],
    *,
    tolerance: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the residual against the Newton iteration.

    Parameters
    ----------
    residual_history
        ``Solution.residual_history``, or several of them by their labels. Entries after the last
        iteration, which are not a number, are left out. Infinite ones are triangles on the upper
        edge, and zeros, nothing but rounding, triangles on the lower one.
    tolerance
        Where to draw a line: what the residual has to reach.
    ax
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a history has no entry.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> drives = jax.random.normal(jax.random.key(0), (100, 2))
    >>> solution = pmc.solve(lambda s, u: 0.5 * jnp.tanh(s) + u, jnp.zeros(2), drives)
    >>> figure = plot_convergence({"DEER": solution.residual_history})
    >>> figure.axes[0].get_xlabel()
    'Newton iteration'
    """
    histories = (
        residual_history if isinstance(residual_history, Mapping) else {"": residual_history}
    )
    if ax is None:
        ax = Figure(figsize=(6.4, 4.2), layout="constrained").subplots()
    styles = zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False)
    infinite = False
    for row, (label, (colour, marker)) in enumerate(zip(histories, styles, strict=False)):
        history = np.asarray(histories[label], dtype=float)
        if np.isnan(history).all():
            name = f"residual_history[{label!r}]" if label else "residual_history"
            raise ValueError(f"{name} must have an entry that is a number")
        # Each on a row of its own, lest they hide one another.
        _draw_history(ax, history, label, colour, marker, top=0.98 - 0.035 * row)
        infinite |= bool(np.isposinf(history).any())
    if infinite:
        ax.margins(y=0.05 + 0.05 * len(histories))
        ax.text(1, 1, "\u25b3 infinite", transform=ax.transAxes, ha="right", va="top", color=GREY)
    if tolerance is not None:
        ax.axhline(tolerance, color=GREY, linestyle="--", linewidth=1, zorder=1)
        ax.annotate(
            "tolerance",
            (0, tolerance),
            (4, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="bottom",
            color=GREY,
        )
    ax.set_yscale("log")
    ax.set_xlabel("Newton iteration")
    ax.set_ylabel("largest residual / scale of the state")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(left=0.5)
    ax.set_axisbelow(True)
    ax.grid(axis="y", color="0.9", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    if any(histories):
        # Above the axes, where no curve can be.
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    # The axes may be in a subfigure.
    return ax.figure.figure


def _draw_history(
    ax: Axes, history: np.ndarray, label: str, colour: str, marker: str, top: float
) -> None:
    iterations = np.arange(1, len(history) + 1)
    shown = np.isfinite(history) & (history > 0)
    ax.plot(
        iterations[shown],
        history[shown],
        color=colour,
        marker=marker,
        markersize=4.5,
        markevery=max(1, int(shown.sum()) // 30),
        linewidth=1.5,
        label=label or None,
    )
    for outside, height, sign in ((np.isposinf(history), top, "^"), (history == 0, 0.0, "v")):
        ax.plot(
            iterations[outside],
            np.full(outside.sum(), height),
            color=colour,
            marker=sign,
            markersize=4.5,
            markerfacecolor="none",
            linestyle="none",
            clip_on=False,
            transform=ax.get_xaxis_transform(),
        )


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
