"""How chains are run by the arguments alone, without a look at the kernel."""

from __future__ import annotations

import jax

from parallel_mcmc._errors import require_positive_int
from parallel_mcmc.kernels.chain import InLanes, Parallel, Runner, Sequential
from parallel_mcmc.solver import Newton, Shooting

CPU_WINDOW = 32
ACCELERATOR_WINDOW = 4096

LANE_LENGTH = 256
"""Steps of a lane, where nothing else is known: several times as many as most chains meet in."""


def choose_runner(
    solver: str | Newton | Shooting, window: int | None, num_samples: int, blocks: int = 1
) -> Runner:
    """Return how chains are run for the arguments of :func:`parallel_mcmc.sample`.

    Nothing is measured: ``"auto"`` is the parallel solver on an accelerator and where ``blocks``
    devices share the steps of a chain, else the plain loop.

    Raises
    ------
    ValueError
        If ``solver`` or ``window`` is not one of the accepted values.
    """
    if isinstance(solver, Shooting):
        length = solver.lanes * LANE_LENGTH if window is None else window
        return InLanes(solver.lanes, window_length(length, num_samples, blocks))
    length = window_length(window, num_samples, blocks)
    if isinstance(solver, Newton):
        return Parallel(solver, length)
    if solver == "auto":
        solver = "sequential" if on_cpu() and blocks == 1 else "parallel"
    if solver == "parallel":
        return Parallel(None, length)
    if solver == "sequential":
        return Sequential()
    raise ValueError(
        'solver must be "auto", "parallel", "sequential", a pmc.Newton method or pmc.Shooting(), '
        f"got {solver!r}"
    )


def on_cpu() -> bool:
    """Whether chains are drawn on a CPU."""
    return jax.default_backend() == "cpu"


def window_length(window: int | None, num_samples: int, blocks: int) -> int:
    """Return the steps that are solved for together."""
    if window is None:
        window = blocks * (CPU_WINDOW if on_cpu() else ACCELERATOR_WINDOW)
    return min(require_positive_int("window", window), num_samples)
