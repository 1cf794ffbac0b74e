"""What was chosen, and why."""

from __future__ import annotations

from typing import NamedTuple

from parallel_mcmc.kernels.chain import InLanes, Runner, Sequential


class Choice(NamedTuple):
    """How chains were run, and why."""

    solver: str
    """``"parallel"``, ``"shooting"`` or ``"sequential"``."""
    window: int | None
    """Steps solved for together; None for the plain loop."""
    reason: str
    """In one sentence."""
    sequential_seconds: float | None = None
    """Time of a draw by the plain loop, if it was measured."""
    parallel_seconds: float | None = None
    """Time of a draw by the parallel solver, if it was measured or estimated."""
    jacobian: str | None = None
    """Model of the Jacobian, where it is not the kernel's own."""
    lanes: int | None = None
    """Stretches of each chain, where the solver shoots."""
    lyapunov_exponent: float | None = None
    """Growth of a small difference in one draw, on the log scale, if it was measured."""
    lyapunov_error: float | None = None
    """Standard error of it."""

    @property
    def way(self) -> str:
        """How the chains are run, in a few words.

        Examples
        --------
        >>> Choice("shooting", 8192, "chains meet", lanes=8).way
        'shooting in 8 lanes, 8,192 draws at a time'
        """
        if self.lanes is not None:
            return f"shooting in {self.lanes} lanes, {self.window:,} draws at a time"
        if self.window is not None:
            model = "the kernel's own" if self.jacobian is None else f"the {self.jacobian}"
            return f"parallel, {self.window:,} draws at a time, by {model} model of the Jacobian"
        return self.solver


def choice_of(
    runner: Runner,
    reason: str,
    sequential_seconds: float | None = None,
    parallel_seconds: float | None = None,
) -> tuple[Runner, Choice]:
    """Return a runner with the choice that tells of it; ``seconds`` are those of a draw."""
    times = sequential_seconds, parallel_seconds
    if isinstance(runner, Sequential):
        return runner, Choice("sequential", None, reason, *times)
    if isinstance(runner, InLanes):
        return runner, Choice("shooting", runner.window, reason, *times, lanes=runner.lanes)
    model = None if runner.method is None else type(runner.method.jacobian).__name__
    return runner, Choice("parallel", runner.window, reason, *times, jacobian=model)
