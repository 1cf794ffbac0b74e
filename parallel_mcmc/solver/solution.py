"""What ``solve`` returns."""

from __future__ import annotations

from typing import NamedTuple

import jax

from parallel_mcmc._tree import PyTree
from parallel_mcmc.solver.recurrence import Recurrence


class Solution(NamedTuple):
    """The states of a recurrence and how they were found."""

    states: PyTree
    """``s_1 … s_T``: every leaf has a leading axis of length T."""
    converged: jax.Array
    """Whether the parallel iteration reached every state, each edge checked. Scalar bool."""
    iterations: jax.Array
    """Newton iterations, over all windows. Scalar int."""
    evaluations: jax.Array
    """Evaluations of the step, a Jacobian-vector product counted as one. Scalar int."""
    residual: jax.Array
    """Largest residual ``|f(s_{t-1}) - s_t|`` of a state taken from the parallel iteration, in
    units of the scale of the state: the last residual evaluated times the contraction observed.
    Scalar float."""
    fallback_steps: jax.Array
    """Steps at the end of the chain that the sequential loop had to finish. Scalar int."""
    residual_history: jax.Array
    """Largest ``|f(x_{t-1}) - x_t|`` of the iterate in the window, in units of the scale, shape
    ``(max_iterations,)``: NaN after the last iteration, infinite while one is not finite."""
    growth: jax.Array
    """Mean growth of the logarithm of an error in one step: along the iterate after ten iterations,
    or along the first steps where a probe of them showed chaos; else NaN. Scalar float. Where it is
    positive the iteration may have stopped early, or not begun; :func:`lyapunov_exponent` gives the
    exponent of the chain itself."""
    problem: Problem | None = None
    """What was solved, for :func:`verify`; None in results that are not from ``solve``."""


class Problem(NamedTuple):
    """A recurrence with its start and its inputs."""

    recurrence: Recurrence
    initial_state: PyTree
    inputs: PyTree
