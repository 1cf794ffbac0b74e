"""What a diagnosis found, as a person reads it and as a program does."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Report:
    """What :func:`diagnose` found; ``print`` shows it, ``as_dict`` returns it."""

    kernel: str
    """Name of the kernel's class."""
    device: str
    """Kind of the device."""
    dim: int
    """Coordinates that the solver moves."""
    num_samples: int
    """Draws that the report is based on."""
    acceptance_rate: float | None
    """Mean acceptance rate; None where the kernel has none."""
    lyapunov_exponent: float | None
    """Growth of a small difference in one step, on the log scale; None where not estimated."""
    lyapunov_error: float | None
    """Standard error of it."""
    predicted_iterations: int | None
    """Iterations without any model of the Jacobian, by the exponent: an upper end. None where two
    chains do not approach each other."""
    iterations: int
    """Newton iterations with all draws in one window, each of them unknown: a stride of 1."""
    fallback_steps: int
    """Draws that the plain loop had to finish there."""
    window: int
    """Steps of the sliding window that is timed."""
    evaluations_per_draw: float
    """Evaluations for each draw with that window, as ``gradient_evaluations`` counts them."""
    sequential_evaluations_per_draw: float
    """The same for the plain loop."""
    sequential_seconds: float
    """Time of a draw by the plain loop on this device, compiled."""
    parallel_seconds: float
    """Time of a draw with the sliding window on this device, compiled."""
    largest_gain: float
    """Gain of a device on which a batch of all draws takes as long as one step: evaluations one
    after the other by the plain loop, over those of the solver."""
    condition_number: float | None
    """Of the draws' covariance in the kernel's whitened coordinates; None where too few draws."""
    choice: str
    """What ``solver="auto"`` takes here, for as many draws."""
    way: str
    """That in words, with its lanes or its window."""
    reason: str
    """Why."""
    advice: tuple[str, ...]
    """What would help, in words."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dict of plain Python values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        rows = [
            ("kernel", f"{self.kernel}, {self.dim} coordinates, {self.num_samples} draws"),
            ("device", self.device),
            ("acceptance rate", _number(self.acceptance_rate, "{:.2f}")),
            (
                "Lyapunov exponent",
                "not estimated"
                if self.lyapunov_exponent is None
                else f"{self.lyapunov_exponent:.3g} ± {self.lyapunov_error:.2g} a draw",
            ),
            (
                "iterations",
                f"{self.iterations} with all draws in one window"
                + (f", {self.fallback_steps} left to the loop" if self.fallback_steps else "")
                + f" (by the exponent alone at most {_number(self.predicted_iterations, '{}')})",
            ),
            (
                "evaluations a draw",
                f"{self.evaluations_per_draw:.1f} in a window of {self.window}, "
                f"{self.sequential_evaluations_per_draw:.1f} by the loop",
            ),
            (
                "time a draw",
                f"{self.parallel_seconds * 1e6:.3g} µs in parallel, "
                f"{self.sequential_seconds * 1e6:.3g} µs by the loop",
            ),
            (
                "largest gain",
                f"{self.largest_gain:.3g}, where a batch takes as long as one step",
            ),
            ("condition number", _number(self.condition_number, "{:.3g} after whitening")),
            ("solver", f"{self.way}: {self.reason}"),
        ]
        lines = [f"{name:19} {value}" for name, value in rows]
        return "\n".join(lines + [f"{'advice':19} {text}" for text in self.advice])


def _number(value: Any, form: str) -> str:
    return "unknown" if value is None else form.format(value)
