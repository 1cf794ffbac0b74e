"""Will the parallel solver pay for a kernel, and what would help.

``report`` is what comes out, ``measure`` draws and times the chains, ``advice`` says what to do.
"""

from parallel_mcmc.diagnosis.measure import diagnose
from parallel_mcmc.diagnosis.report import Report

__all__ = ["Report", "diagnose"]
