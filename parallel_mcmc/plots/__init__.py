"""Pictures of how a chain was solved and of what it drew.

The figures are made without pyplot, so that no window opens and nothing has to be closed; save one
by ``figure.savefig("trace.png")``, or ``ax.figure.savefig(...)`` for what returns axes.
"""

from parallel_mcmc.plots.convergence import plot_convergence, plot_iterations
from parallel_mcmc.plots.record import (
    Iterations,
    estimate_lyapunov,
    record_iterations,
)
from parallel_mcmc.plots.solving import (
    animate_iterations,
    plot_front,
    plot_lyapunov,
    plot_residuals,
)
from parallel_mcmc.plots.trace import plot_overlay, plot_trace

__all__ = [
    "Iterations",
    "animate_iterations",
    "estimate_lyapunov",
    "plot_convergence",
    "plot_front",
    "plot_iterations",
    "plot_lyapunov",
    "plot_overlay",
    "plot_residuals",
    "plot_trace",
    "record_iterations",
]
