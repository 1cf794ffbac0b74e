"""NumPyro's ``MCMC`` with chains that are solved in parallel.

Change the import, keep the rest::

    from parallel_mcmc.numpyro import HMC, MCMC  # instead of numpyro.infer

:class:`MCMC` is a ``numpyro.infer.MCMC``; :class:`HMC`, :class:`MALA` and :class:`RandomWalk` are
NumPyro kernels.
"""

from parallel_mcmc.numpyro.kernels import HMC, MALA, RandomWalk
from parallel_mcmc.numpyro.mcmc import MCMC

__all__ = ["HMC", "MALA", "MCMC", "RandomWalk"]
