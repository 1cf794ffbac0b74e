"""Which part of a mesh, and of an array over it, is that of this process."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh

CHAIN = "chain"
"""The axis of a user's mesh that the chains are spread over."""


def local_part(leaf: jax.Array) -> np.ndarray:
    """Return what this process has of an array: a block of its leading axes."""
    shards = leaf.addressable_shards
    ranges = [
        [part.indices(size)[:2] for part, size in zip(shard.index, leaf.shape, strict=True)]
        for shard in shards
    ]
    corner = [min(r[axis][0] for r in ranges) for axis in range(leaf.ndim)]
    shape = [max(r[axis][1] for r in ranges) - corner[axis] for axis in range(leaf.ndim)]
    whole = np.empty(shape, leaf.dtype)
    for shard, bounds in zip(shards, ranges, strict=True):
        where = (slice(a - c, b - c) for (a, b), c in zip(bounds, corner, strict=True))
        whole[tuple(where)] = shard.data
    return whole


def owners_of(mesh: Mesh) -> list[int | None]:
    """Return the process of every row of devices along ``"chain"``; None if there are several."""
    devices = mesh.devices
    if CHAIN in mesh.axis_names:
        devices = np.moveaxis(devices, mesh.axis_names.index(CHAIN), 0)
    rows = devices.reshape(mesh.shape.get(CHAIN, 1), -1)
    processes = [{device.process_index for device in row} for row in rows]
    return [next(iter(row)) if len(row) == 1 else None for row in processes]
