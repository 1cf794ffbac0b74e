"""Draw the pictures of the README and of the site into docs/images/.

    python scripts/make_pictures.py

convergence.png: 200 draws of HMC on a banana-shaped posterior, and some of the iterates of
Newton's method on their way to them.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import parallel_mcmc as pmc
from parallel_mcmc.plots import record_iterations
from parallel_mcmc.plots.style import COLOURS, new_axes

IMAGES = pathlib.Path(__file__).parents[1] / "docs" / "images"
DRAWS = 200
SHOWN = (0, 4, 8)
"""Iterates drawn, besides the last one."""
CLOSE = 1e-3
"""A state is drawn as right if it is as near to the chain, in coordinates whose conditional
standard deviation is 1 or more."""
SEQUENTIAL, WRONG, RIGHT, FOUND = "0.8", COLOURS[1], COLOURS[0], "#D9E8F3"


def banana(x):
    """The banana of arXiv 2508.18413."""
    return -0.5 * (x[0] / 10) ** 2 - 0.5 * (x[1] - 0.03 * (x[0] ** 2 - 100)) ** 2


def draw_iterate(ax, chain, path, right, found):
    """Draw an iterate over the chain, with the states that are right and those known to be."""
    time = np.arange(1, len(chain) + 1)
    ax.plot(time, chain, color=SEQUENTIAL, lw=3, zorder=1)
    ax.plot(time, path, color=WRONG, lw=0.7, alpha=0.6, zorder=2)
    ax.plot(time, np.where(right, path, np.nan), color=RIGHT, lw=1.2, zorder=3)
    for some, colour in ((~right, WRONG), (right, RIGHT)):
        ax.plot(time[some], path[some], ".", color=colour, ms=4.5, zorder=4)
    if found:
        ax.axvspan(0, found + 0.5, color=FOUND, lw=0, zorder=0)


def convergence():
    """Return a picture of a chain that converges over the iterations."""
    kernel = pmc.hmc(banana, 0.5, jnp.ones(2), 8)
    start, key = jnp.array([8.0, -1.0]), jax.random.key(0)
    iterations = record_iterations(kernel, start, key, DRAWS)
    sequential = pmc.sample(key, kernel, start, DRAWS, solver="sequential", progress_bar=False)
    chain = np.asarray(sequential.position)[0]
    right = np.abs(iterations.coordinates - chain).max(axis=2) < CLOSE
    done = [0, *iterations.done]
    last = len(iterations.done)
    assert right[last].all()

    figure = Figure(figsize=(9, 5.4), facecolor="white", layout="constrained")
    figure.get_layout_engine().set(hspace=0.03)
    axes = figure.subplots(len(SHOWN) + 1, sharex=True, sharey=True)
    for ax, k in zip(axes, (*SHOWN, last), strict=True):
        new_axes(ax)
        draw_iterate(ax, chain[:, 0], iterations.coordinates[k, :, 0], right[k], done[k])
        ax.set_title(f"after {k} iterations" if k else "first guess", loc="left", fontsize=11)
        ax.set_title(f"{right[k].sum()} of {DRAWS} states right", loc="right", color=RIGHT)
    axes[-1].set_xlim(0, DRAWS + 1)
    axes[-1].set_xlabel("step of the chain")
    figure.supylabel("state")
    figure.suptitle(
        f"{DRAWS} steps of a Markov chain, found all at once in {last} parallel iterations",
        fontsize=13,
        fontweight="bold",
    )
    handles = [
        Line2D([], [], color=SEQUENTIAL, lw=3, label="the sequential sampler's chain"),
        Line2D([], [], color=WRONG, marker="o", ms=4, lw=0.7, label="iterate"),
        Line2D([], [], color=RIGHT, marker="o", ms=4, lw=1.2, label="iterate, right already"),
        Patch(color=FOUND, label="certified"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def main():
    jax.config.update("jax_enable_x64", True)
    IMAGES.mkdir(exist_ok=True)
    convergence().savefig(IMAGES / "convergence.png", dpi=150)


if __name__ == "__main__":
    main()
