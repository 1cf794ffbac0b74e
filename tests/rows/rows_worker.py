"""Sums over rows that are on eight devices, and prints the loops, as JSON; run by ``test_blocks``.

The arguments are the axes that the rows are spread over, ``data``, or ``none`` for a copy each.
"""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

sys.path.append(str(pathlib.Path(__file__).parents[1]))
from jaxprs import scans

from parallel_mcmc.rows import plan
from parallel_mcmc.rows.arranged import arranged


def outcome(axis):
    mesh = jax.make_mesh((8,), ("data",))
    spec = jax.sharding.PartitionSpec(None if axis == "none" else axis)
    numbers = np.random.default_rng(0).normal(size=(160, 3))
    rows = jax.device_put(numbers, jax.sharding.NamedSharding(mesh, spec))

    def logdensity(q):
        return -0.5 * jnp.sum((rows @ q - 1) ** 2)

    q = jnp.ones(3)
    exact = -0.5 * np.sum((numbers @ np.ones(3) - 1) ** 2)
    blocked = arranged(logdensity)
    return {"loops": scans(blocked, q), "error": abs(float(blocked(q)) - exact)}


if __name__ == "__main__":
    plan.cache_bytes, plan.FEWEST_ROWS = lambda: 0, 40
    print(json.dumps({axis: outcome(axis) for axis in sys.argv[1:]}))
