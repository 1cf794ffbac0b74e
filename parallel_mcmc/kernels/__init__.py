"""Transition kernels whose randomness is drawn beforehand, so that a step is deterministic."""

from parallel_mcmc.kernels.base import GradientState, Kernel
from parallel_mcmc.kernels.hmc import HMC, hmc
from parallel_mcmc.kernels.mala import MALA, mala
from parallel_mcmc.kernels.metric import metric
from parallel_mcmc.kernels.metropolis import TransitionInfo

__all__ = ["HMC", "MALA", "GradientState", "Kernel", "TransitionInfo", "hmc", "mala", "metric"]
