"""Whole Markov chains at once: the sequential sampler's chain from a parallel Newton solver."""

from parallel_mcmc._errors import SequentialFallbackWarning
from parallel_mcmc.kernels import hmc, mala
from parallel_mcmc.sampling import InterruptedWarning, Samples, sample
from parallel_mcmc.solver import (
    Dense,
    Diagonal,
    FixedCap,
    Identity,
    LearnedCap,
    LyapunovEstimate,
    Newton,
    Solution,
    Surrogate,
    Zero,
    deer,
    jacobi,
    lyapunov_exponent,
    picard,
    quasi_deer,
    solve,
    verify,
)

__version__ = "0.1.0"

__all__ = [
    "Dense",
    "Diagonal",
    "FixedCap",
    "Identity",
    "InterruptedWarning",
    "LearnedCap",
    "LyapunovEstimate",
    "Newton",
    "Samples",
    "SequentialFallbackWarning",
    "Solution",
    "Surrogate",
    "Zero",
    "deer",
    "hmc",
    "jacobi",
    "lyapunov_exponent",
    "mala",
    "picard",
    "quasi_deer",
    "sample",
    "solve",
    "verify",
]
