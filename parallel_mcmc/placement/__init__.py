"""Where the chains of a run are drawn: on one device, or over the devices of a mesh."""

from parallel_mcmc.placement.base import ON_ONE_DEVICE, OnOneDevice, Placement
from parallel_mcmc.placement.over_mesh import OverMesh, require_chain_mesh

__all__ = ["ON_ONE_DEVICE", "OnOneDevice", "OverMesh", "Placement", "require_chain_mesh"]
