"""What would help, in words: one function for each thing that may be wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from parallel_mcmc.diagnosis.report import Report
from parallel_mcmc.kernels.base import Kernel

BAD_CONDITION = 10.0
LOW_RATE, HIGH_RATE = 0.5, 0.98


def advice(report: Report, kernel: Kernel) -> tuple[str, ...]:
    """Return what would help, most important first."""
    checks: list[Callable[[Report, Kernel], str | None]] = [
        _about_stability,
        _about_the_metric,
        _about_the_step_size,
        _about_the_device,
    ]
    return tuple(text for check in checks if (text := check(report, kernel)) is not None)


def _about_stability(report: Report, kernel: Kernel) -> str | None:
    exponent, error = report.lyapunov_exponent, report.lyapunov_error
    if exponent is not None and error is not None and exponent > -2 * error:
        return (
            "Chains with the same random numbers do not clearly approach each other: the parallel "
            "solver cannot pay. A shorter trajectory or step size may help."
        )
    if report.fallback_steps:
        return (
            f"The solver left {report.fallback_steps} of {report.num_samples} draws to the loop: "
            "the posterior has regions where nearby chains part."
        )
    return None


def _about_the_metric(report: Report, kernel: Kernel) -> str | None:
    if report.condition_number is None or report.condition_number < BAD_CONDITION:
        return None
    metric = getattr(kernel, "metric", None)
    if metric is None:
        return None
    dense = np.ndim(metric.inverse_mass_matrix()) == 2
    kind = "this" if dense else "the diagonal"
    remedy = "Estimate it from more draws" if dense else "Use a dense metric"
    return f"{remedy}: {kind} one leaves condition number {report.condition_number:.0f}."


def _about_the_step_size(report: Report, kernel: Kernel) -> str | None:
    rate = report.acceptance_rate
    if rate is not None and rate < LOW_RATE:
        return (
            f"Only {rate:.0%} of the proposals are accepted: a smaller step size mixes better, and "
            "rejections keep chains from approaching each other."
        )
    if rate is not None and rate > HIGH_RATE and hasattr(kernel, "step_size"):
        return f"{rate:.0%} of the proposals are accepted: a larger step size mixes faster."
    return None


def _about_the_device(report: Report, kernel: Kernel) -> str | None:
    gain = report.sequential_seconds / report.parallel_seconds
    if report.choice != "shooting" and gain < 1 < report.largest_gain:
        return (
            f"Here the loop is {1 / gain:.1f} times faster. A device that runs larger batches at "
            f"the price of one step gains up to {report.largest_gain:.0f} times."
        )
    return None
