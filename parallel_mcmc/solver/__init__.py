"""The parallel Newton solver for recurrences; it knows nothing of MCMC."""

from parallel_mcmc.solver.api import solve, verify
from parallel_mcmc.solver.jacobian import Dense, Diagonal, Identity, Surrogate, Zero
from parallel_mcmc.solver.lyapunov import LyapunovEstimate, lyapunov_exponent
from parallel_mcmc.solver.newton import Newton, deer, jacobi, picard, quasi_deer
from parallel_mcmc.solver.safeguards import FixedCap, LearnedCap
from parallel_mcmc.solver.solution import Solution

__all__ = [
    "Dense",
    "Diagonal",
    "FixedCap",
    "Identity",
    "LearnedCap",
    "LyapunovEstimate",
    "Newton",
    "Solution",
    "Surrogate",
    "Zero",
    "deer",
    "jacobi",
    "lyapunov_exponent",
    "picard",
    "quasi_deer",
    "solve",
    "verify",
]
