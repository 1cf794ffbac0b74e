"""Whether a warmup has reached the acceptance rate that it was to."""

from __future__ import annotations

import warnings

import numpy as np

from parallel_mcmc.warmup.schedule import FINAL_STAGE

TOLERANCE = 0.1
"""How far the acceptance rate may be from the target, beyond three standard errors."""


class AcceptanceWarning(UserWarning):
    """At the end of a warmup the acceptance rate was not at its target."""


def warn_of_acceptance(
    acceptance_rate: np.ndarray, target: float, step_size: float, largest_step_size: float
) -> None:
    """Warn if the last steps did not accept at the wanted rate.

    They are the second half of the last stage, when the step size has settled. Nothing is said of
    warmups too short for a whole last stage, nor of a rate above the target that a larger step size
    would not lower.

    Parameters
    ----------
    acceptance_rate
        Of every step of the warmup, mean over the chains.
    target
        The wanted one.
    step_size, largest_step_size
        The tuned one, and the one above which larger ones are no different.
    """
    last = np.asarray(acceptance_rate)[-FINAL_STAGE // 2 :]
    rate, error = last.mean(), last.std() / np.sqrt(len(last))
    if abs(rate - target) <= TOLERANCE + 3 * error:
        return
    if rate > target and step_size > 0.5 * largest_step_size:
        return
    warnings.warn(
        f"the last {len(last)} steps of the warmup accepted with a rate of {rate:.2f}, which is "
        f"more than {TOLERANCE} from the target of {target:.2f}: the step size, {step_size:.3g}, "
        "has not settled. Try a longer warmup, other initial positions, or another "
        "parametrisation of the model",
        AcceptanceWarning,
        stacklevel=3,
    )
