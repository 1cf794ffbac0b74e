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
    LevenbergMarquardt,
    LyapunovEstimate,
    Newton,
    Solution,
    Surrogate,
    Zero,
    deer,
    elk,
    jacobi,
    lyapunov_exponent,
    picard,
    quasi_deer,
    quasi_elk,
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
    "LevenbergMarquardt",
    "LyapunovEstimate",
    "Newton",
    "Samples",
    "SequentialFallbackWarning",
    "Solution",
    "Surrogate",
    "Zero",
    "deer",
    "elk",
    "hmc",
    "jacobi",
    "lyapunov_exponent",
    "mala",
    "picard",
    "quasi_deer",
    "quasi_elk",
    "sample",
    "solve",
    "verify",
]
