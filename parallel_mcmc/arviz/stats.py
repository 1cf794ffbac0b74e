"""What samples tell beside their values: of every draw, of every chain, and of the run."""

from __future__ import annotations

from typing import Any

import numpy as np

import parallel_mcmc
from parallel_mcmc.arviz.results import History, Results, shape_of
from parallel_mcmc.sampling import Samples


def sample_stats(samples: Samples | History) -> dict[str, np.ndarray]:
    """Return the group ``sample_stats``, but for what the solver tells of a chain."""
    stats = transition_stats(samples.info, samples.logdensity)
    if samples.step_size is not None:
        step_size = np.asarray(samples.step_size)[:, None]
        stats["step_size"] = np.broadcast_to(step_size, shape_of(samples))
    return stats


def transition_stats(info: Any, logdensity: Any) -> dict[str, np.ndarray]:
    """Return what transitions tell of every draw, under ArviZ's names."""
    fields = {
        "acceptance_rate": "acceptance_rate",
        "diverging": "is_divergent",
        "n_steps": "num_integration_steps",
        "accepted": "is_accepted",
        "accept_margin": "accept_margin",
        "tree_depth": "num_trajectory_expansions",
    }
    stats = {name: getattr(info, field, None) for name, field in fields.items()}
    stats = {"lp": logdensity, "energy": _energy(info), **stats}
    return {name: np.asarray(value) for name, value in stats.items() if value is not None}


def _energy(info: Any) -> np.ndarray | None:
    """Return the energy of the draws: the info has that of the proposals, as BlackJAX's."""
    energy = getattr(info, "energy", None)
    accepted, rate = (getattr(info, name, None) for name in ("is_accepted", "acceptance_rate"))
    if energy is None or accepted is None:
        # That of NUTS, which accepts and rejects nothing, is the draw's own.
        return energy
    energy, rate = np.asarray(energy), np.asarray(rate)
    # A proposal with acceptance probability p < 1 has log p less energy to spare than the draw.
    with np.errstate(divide="ignore", invalid="ignore"):
        initial = energy + np.log(rate)
    initial = np.where(np.isfinite(initial), initial, np.nan)
    return np.where(accepted, energy, initial).astype(energy.dtype)


def work_of(samples: Samples | History) -> dict[str, float]:
    """Return the gradient evaluations of a draw, where they were counted."""
    if samples.stats is None:
        return {}
    evaluations = np.sum(samples.stats.gradient_evaluations) / np.prod(shape_of(samples))
    return {"gradient_evaluations_per_draw": float(evaluations)}


def solver_stats(samples: Samples | History) -> dict[str, np.ndarray]:
    """Return one number a chain."""
    stats = samples.stats
    if stats is None:
        return {}
    values = {
        "converged": stats.converged,
        "newton_iterations": stats.iterations,
        "evaluations": stats.gradient_evaluations,
        "residual": stats.residual,
        "fallback": stats.fallback_steps,
    }
    return {name: np.asarray(value) for name, value in values.items()}


def provenance(results: Results) -> dict[str, Any]:
    """Return the attributes of all groups: what made the samples, in which time."""
    attrs: dict[str, Any] = {
        "inference_library": "parallel_mcmc",
        "inference_library_version": parallel_mcmc.__version__,
    }
    if results.samples.sampling_time is not None:
        attrs["sampling_time"] = results.samples.sampling_time
    if results.warmup is not None:
        attrs["tuning_steps"] = len(results.warmup.acceptance_rate)
    return attrs
