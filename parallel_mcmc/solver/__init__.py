"""The parallel Newton solver for recurrences; it knows nothing of MCMC."""

from parallel_mcmc.solver.api import solve
from parallel_mcmc.solver.block import BlockDiagonal
from parallel_mcmc.solver.certificate import verify
from parallel_mcmc.solver.jacobian import Dense, Diagonal, Identity, Surrogate, Zero
from parallel_mcmc.solver.lyapunov import LyapunovEstimate, lyapunov_exponent
from parallel_mcmc.solver.method import Newton, deer, elk, jacobi, picard, quasi_deer, quasi_elk
from parallel_mcmc.solver.safeguards import FixedCap, LearnedCap
from parallel_mcmc.solver.shooting import Shooting
from parallel_mcmc.solver.solution import Solution
from parallel_mcmc.solver.trust_region import LevenbergMarquardt

__all__ = [
    "BlockDiagonal",
    "Dense",
    "Diagonal",
    "FixedCap",
    "Identity",
    "LearnedCap",
    "LevenbergMarquardt",
    "LyapunovEstimate",
    "Newton",
    "Shooting",
    "Solution",
    "Surrogate",
    "Zero",
    "deer",
    "elk",
    "jacobi",
    "lyapunov_exponent",
    "picard",
    "quasi_deer",
    "quasi_elk",
    "solve",
    "verify",
]
