"""How a chain converges over the Newton iterations."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from parallel_mcmc.plots.record import Iterations
from parallel_mcmc.plots.style import COLOURS, GREY, new_axes
from parallel_mcmc.solver.lyapunov import LyapunovEstimate

LARGEST = 1e4
"""Residuals beyond have one colour."""
HELD = 6
"""Frames that the last picture of an animation stays for."""


def plot_residuals(iterations: Iterations, *, ax: Axes | None = None) -> Axes:
    """Draw the residual of every step in every iteration, as a heat map.

    White is what is not in the window, or converged beyond rounding.

    Parameters
    ----------
    iterations
        What :func:`record_iterations` returned.
    ax
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> from parallel_mcmc.plots import record_iterations
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> iterations = record_iterations(kernel, jnp.zeros(2), jax.random.key(0), 64)
    >>> plot_residuals(iterations).get_ylabel()
    'Newton iteration'
    """
    ax = new_axes(ax, width=8)
    shown = np.where(iterations.residual > 0, iterations.residual, np.nan)
    finite = shown[np.isfinite(shown)]
    # Iterates that run away would leave no colours for the rest.
    top = min(max(float(finite.max(initial=1.0)), 10 * iterations.tolerance), LARGEST)
    count, draws = shown.shape
    image = ax.imshow(
        np.minimum(shown, top),
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        norm=LogNorm(iterations.tolerance, top),
        cmap="cividis",
        extent=(0.5, draws + 0.5, 0.5, count + 0.5),
    )
    bar = ax.figure.figure.colorbar(image, ax=ax, extend="both", pad=0.02)
    bar.set_label("residual, in standard deviations")
    ax.set_xlabel("draw")
    ax.set_ylabel("Newton iteration")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def plot_front(iterations: Iterations, *, ax: Axes | None = None) -> Axes:
    """Draw how many draws are found after each iteration, and where the window stands.

    Parameters
    ----------
    iterations
        What :func:`record_iterations` returned.
    ax
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> from parallel_mcmc.plots import record_iterations
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> iterations = record_iterations(kernel, jnp.zeros(2), jax.random.key(0), 64, window=16)
    >>> plot_front(iterations).get_ylabel()
    'draw'
    """
    ax = new_axes(ax)
    total = iterations.residual.shape[1]
    done = np.concatenate([[0], iterations.done])
    count = np.arange(len(done))
    end = np.minimum(done + iterations.window, total)
    ax.fill_between(count, done, end, step="post", color=COLOURS[5], alpha=0.35, lw=0)
    ax.stairs(end[:-1], count, baseline=None, color=COLOURS[5], lw=1, label="end of the window")
    ax.step(count, done, where="post", color=COLOURS[0], lw=1.8, label="found")
    ax.plot(count, np.minimum(count, total), color=GREY, ls="--", lw=1, label="one an iteration")
    ax.set_xlabel("Newton iteration")
    ax.set_ylabel("draw")
    ax.set_xlim(0, count[-1])
    ax.set_ylim(0, total * 1.02)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=3)
    return ax


def plot_lyapunov(lyapunov: LyapunovEstimate, *, ax: Axes | None = None) -> Axes:
    """Draw the running estimate of the largest Lyapunov exponent.

    Parameters
    ----------
    lyapunov
        What :func:`estimate_lyapunov` returned.
    ax
        Axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> from parallel_mcmc.plots import estimate_lyapunov
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> ax = plot_lyapunov(estimate_lyapunov(kernel, jnp.zeros(2), jax.random.key(0), 200))
    >>> ax.get_xlabel()
    'draws'
    """
    ax = new_axes(ax)
    draws = np.arange(1, len(lyapunov.growth) + 1)
    running = np.cumsum(np.asarray(lyapunov.growth)) / draws
    exponent, error = float(lyapunov.exponent), float(lyapunov.standard_error)
    low, high = exponent - 2 * error, exponent + 2 * error
    ax.axhspan(low, high, color=COLOURS[0], alpha=0.15, lw=0, label="estimate, 2 standard errors")
    ax.plot(draws, running, color=COLOURS[0], lw=1.5, label="mean so far")
    ax.axhline(0, color=GREY, ls="--", lw=1)
    ax.annotate(
        "above: chaotic, below: forgets its past",
        (1, 0),
        (-2, -4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top",
        color=GREY,
    )
    later = running[len(running) // 50 :]
    span = max(abs(low), abs(high), float(np.abs(later).max()))
    ax.set_ylim(
        -1.2 * span if later.min() < 0 else -0.2 * span, 1.2 * max(float(later.max()), 0.2 * span)
    )
    ax.set_xlim(1, len(draws))
    ax.set_xlabel("draws")
    ax.set_ylabel("Lyapunov exponent, per draw")
    ax.set_title(
        f"{exponent:.3f} \u00b1 {error:.3f}",
        loc="right",
        fontsize="medium",
    )
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=2)
    return ax


def animate_iterations(
    iterations: Iterations,
    *,
    index: int = 0,
    file: str | os.PathLike[str] | None = None,
    frames_per_second: int = 4,
) -> FuncAnimation:
    """Show the chain converging: one picture an iteration.

    Parameters
    ----------
    iterations
        What :func:`record_iterations` returned.
    index
        Which whitened coordinate to show.
    file
        Where to write it, if anywhere, as a GIF or, which notebooks and their converters show
        like any picture, as an animated PNG (``.png``).
    frames_per_second
        Speed of the file; the last picture stays for a while.

    Returns
    -------
    FuncAnimation
        ``animation.to_jshtml()`` shows it in a notebook.

    Raises
    ------
    ValueError
        If ``index`` is out of range.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> from parallel_mcmc.plots import record_iterations
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> iterations = record_iterations(kernel, jnp.zeros(2), jax.random.key(0), 64)
    >>> animate_iterations(iterations, file=getfixture("tmp_path") / "chain.gif")
    <matplotlib.animation.FuncAnimation object at ...>
    """
    size = iterations.coordinates.shape[2]
    if not 0 <= index < size:
        raise ValueError(f"index must be from 0 to {size - 1}, got {index}")
    paths = iterations.coordinates[..., index]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    ax = new_axes(figure.subplots())
    draws = np.arange(1, paths.shape[1] + 1)
    ax.plot(draws, paths[-1], color="0.8", lw=3, label="the chain")
    (line,) = ax.plot([], [], color=COLOURS[1], lw=1.2, label="iterate")
    (found,) = ax.plot([], [], color=COLOURS[0], lw=1.6, label="found")
    low, high = np.nanmin(paths[-1]), np.nanmax(paths[-1])
    room = 0.15 * max(high - low, 1e-3)
    ax.set_ylim(low - room, high + room)
    ax.set_xlim(1, max(len(draws), 2))
    ax.set_xlabel("draw")
    ax.set_ylabel(f"whitened coordinate {index}")
    title = ax.set_title("", loc="right", fontsize="medium", color=GREY)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=3)

    def show(iteration: int) -> list[Any]:
        done = int(iterations.done[iteration - 1]) if iteration else 0
        line.set_data(draws, paths[iteration])
        found.set_data(draws[:done], paths[iteration][:done])
        title.set_text(f"iteration {iteration} of {len(paths) - 1}")
        return [line, found, title]

    animation = FuncAnimation(figure, show, frames=len(paths), interval=1000 / frames_per_second)
    # Taken for drawn, lest Matplotlib warns of an animation that nobody has seen.
    animation._draw_was_started = True  # pyright: ignore[reportAttributeAccessIssue]
    if file is not None:
        _write(figure, show, len(paths), file, round(1000 / frames_per_second))
    return animation


def _write(
    figure: Figure,
    show: Callable[[int], Any],
    count: int,
    file: str | os.PathLike[str],
    milliseconds: int,
) -> None:
    """Write frames of one palette, which takes a fraction of the space; the last one is held."""
    canvas = FigureCanvasAgg(figure)
    frames = []
    for index in range(count):
        show(index)
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    some = Image.fromarray(np.concatenate([frames[i] for i in (0, count // 2, -1)]))
    colours = np.array(some.quantize(63).getpalette()).reshape(-1, 3)
    # The background, which would be averaged with what is nearly white.
    colours[colours.min(axis=1) > 240] = 255
    palette = Image.new("P", (1, 1))
    palette.putpalette([255, 255, 255, *colours.ravel().tolist()])
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(
        file,
        save_all=True,
        append_images=rest,
        duration=[*[milliseconds] * len(rest), HELD * milliseconds],
        loop=0,
    )
