"""Samples for ArviZ: ``InferenceData`` before ArviZ 1, ``xarray.DataTree`` from ArviZ 1 on."""

from parallel_mcmc.arviz.convert import to_arviz

__all__ = ["to_arviz"]
