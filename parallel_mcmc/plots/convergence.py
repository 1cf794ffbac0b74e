"""How the residual falls, and how many iterations it takes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from parallel_mcmc.plots.style import COLOURS, GREY, MARKERS, new_axes


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
    ax = new_axes(ax)
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
    if any(histories):
        # Above the axes, where no curve can be.
        ax.legend(
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0,
            ncols=1 if len(histories) < 4 else 3,
        )
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


def plot_iterations(
    iterations: Mapping[str, ArrayLike],
    lengths: Sequence[int],
    *,
    sequential: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the Newton iterations against the length of the chain.

    Parameters
    ----------
    iterations
        By the labels of the methods, the iterations for each of ``lengths``:
        ``Solution.iterations`` or ``samples.stats.iterations``. Several columns, shape
        ``(len(lengths), n)``, are chains; their median is drawn, and their range shaded.
    lengths
        Lengths of the chain.
    sequential
        Whether to draw the line of as many iterations as steps.
    ax
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there are not as many counts as lengths.

    Examples
    --------
    >>> ax = plot_iterations({"Newton": [4, 5, 6]}, [100, 1_000, 10_000])
    >>> ax.get_xlabel()
    'length of the chain'
    """
    ax = new_axes(ax)
    lengths = list(lengths)
    styles = zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False)
    for (label, counts), (colour, marker) in zip(iterations.items(), styles, strict=False):
        counts = np.asarray(counts)
        if counts.shape[:1] != (len(lengths),) or counts.ndim > 2:
            raise ValueError(
                f"iterations[{label!r}] must have one row for each of the {len(lengths)} lengths, "
                f"got shape {counts.shape}"
            )
        counts = counts.reshape(len(lengths), -1)
        middle = np.median(counts, axis=1)
        ax.plot(lengths, middle, color=colour, marker=marker, markersize=4.5, label=label)
        ax.fill_between(lengths, counts.min(1), counts.max(1), color=colour, alpha=0.2, lw=0)
    top = ax.get_ylim()[1]
    if sequential:
        ax.plot(lengths, lengths, color=GREY, linestyle="--", lw=1, label="one a step")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(1, max(3 * top, 3 * min(lengths)))
    ax.set_xlabel("length of the chain")
    ax.set_ylabel("Newton iterations")
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(frameon=False)
    return ax
