"""Tuning of a kernel's step size and metric before sampling."""

from parallel_mcmc.warmup.adaptation import WarmupResult, window_adaptation
from parallel_mcmc.warmup.check import AcceptanceWarning
from parallel_mcmc.warmup.initial import Laplace, Pathfinder
from parallel_mcmc.warmup.low_rank import LowRank
from parallel_mcmc.warmup.schedule import Schedule, build_schedule
from parallel_mcmc.warmup.step_size import DualAveraging, find_reasonable_step_size
from parallel_mcmc.warmup.welford import Welford

__all__ = [
    "AcceptanceWarning",
    "DualAveraging",
    "Laplace",
    "LowRank",
    "Pathfinder",
    "Schedule",
    "WarmupResult",
    "Welford",
    "build_schedule",
    "find_reasonable_step_size",
    "window_adaptation",
]
