"""Transition kernels whose randomness is drawn beforehand, so that a step is deterministic."""

from parallel_mcmc.kernels.adjusted_mclmc import AdjustedMCLMC, adjusted_mclmc
from parallel_mcmc.kernels.barker import Barker, barker
from parallel_mcmc.kernels.base import DensityState, GradientState, Kernel, PhaseState
from parallel_mcmc.kernels.cycle import Cycle, CycleInfo, CycleState, cycle
from parallel_mcmc.kernels.gate import HardGate, SmoothGate
from parallel_mcmc.kernels.gibbs import Gibbs, GibbsInfo, GibbsState, gibbs
from parallel_mcmc.kernels.hmc import HMC, UniformSteps, hmc
from parallel_mcmc.kernels.leapfrog import Leapfrog
from parallel_mcmc.kernels.low_rank_metric import LowRankMetric
from parallel_mcmc.kernels.mala import MALA, mala
from parallel_mcmc.kernels.mclmc import MCLMC, MCLMCInfo, mclmc
from parallel_mcmc.kernels.metric import metric
from parallel_mcmc.kernels.metropolis import TransitionInfo
from parallel_mcmc.kernels.parallel_leapfrog import ParallelLeapfrog
from parallel_mcmc.kernels.rmh import RMH, rmh
from parallel_mcmc.kernels.ula import ULA, LangevinInfo, ula
from parallel_mcmc.kernels.underdamped import UnderdampedLangevin, underdamped_langevin

__all__ = [
    "HMC",
    "MALA",
    "MCLMC",
    "RMH",
    "ULA",
    "AdjustedMCLMC",
    "Barker",
    "Cycle",
    "CycleInfo",
    "CycleState",
    "DensityState",
    "Gibbs",
    "GibbsInfo",
    "GibbsState",
    "GradientState",
    "HardGate",
    "Kernel",
    "LangevinInfo",
    "Leapfrog",
    "LowRankMetric",
    "MCLMCInfo",
    "ParallelLeapfrog",
    "PhaseState",
    "SmoothGate",
    "TransitionInfo",
    "UnderdampedLangevin",
    "UniformSteps",
    "adjusted_mclmc",
    "barker",
    "cycle",
    "gibbs",
    "hmc",
    "mala",
    "mclmc",
    "metric",
    "rmh",
    "ula",
    "underdamped_langevin",
]
