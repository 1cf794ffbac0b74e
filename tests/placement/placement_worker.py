"""Draws chains on eight devices and prints what came out, as JSON; run by ``test_over_mesh``.

The arguments are names of ``CASES``.
"""

import json
import pathlib
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.data import load_german_credit

VARIANCES = jnp.array([1.0, 2.0, 0.5])
CHAINS = 4
STARTS = jnp.asarray(np.random.default_rng(0).normal(size=(CHAINS, 3)))


def logdensity(q):
    return -0.5 * jnp.sum((q - 1) ** 2 / VARIANCES) - 0.05 * jnp.sum(q**4)


KERNELS = {
    "mala": pmc.mala(logdensity, 0.4, VARIANCES),
    "hmc": pmc.hmc(logdensity, 0.3, VARIANCES, 4),
    "rmh": pmc.rmh(logdensity, 0.8),
}
METHODS = {
    "surrogate": pmc.Newton(pmc.Surrogate()),
    "diagonal": pmc.quasi_deer(),
    "dense": pmc.deer(),
}


def mesh_of(shape, names=("chain", "time")):
    return jax.sharding.Mesh(np.reshape(jax.devices(), shape), names)


def draw(kernel, num_samples=100, starts=STARTS, **options):
    options = {"solver": "parallel", "progress_bar": False} | options
    if len(starts) == 1:
        starts = starts[0]
    else:
        options["num_chains"] = len(starts)
    return pmc.sample(jax.random.key(0), kernel, starts, num_samples, **options)


def distance(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.max(np.abs(np.subtract(x, y, dtype=float)))) for x, y in pairs)


def compare(kernel, mesh, num_samples=100, chains=CHAINS, there=None, **options):
    """Return how the draws over a mesh differ from those of the plain loop on one device."""
    starts = STARTS[:chains]
    here = draw(kernel, num_samples, starts, solver="sequential")
    over = draw(kernel if there is None else there, num_samples, starts, mesh=mesh, **options)
    return {
        "position": distance(over.position, here.position),
        "info": distance(over.info.is_accepted, here.info.is_accepted),
        "final": distance(over.final_state.position, here.final_state.position),
        "shape": [over.position.shape == here.position.shape, len(over.stats.iterations)],
        "fallback": int(np.sum(over.stats.fallback_steps)),
        "solver": over.stats.choice.solver,
    }


def matrix(kernel, method):
    return [
        compare(KERNELS[kernel], mesh_of(shape), solver=METHODS[method], window=24)
        for shape in ((8, 1), (4, 2), (2, 4), (1, 8))
    ]


def checkpoint():
    """Return how a run that was stored, over a mesh, differs from one that was not."""
    options = {"mesh": mesh_of((2, 4)), "window": 16}
    kernel = KERNELS["hmc"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "run"
        stored = draw(kernel, 90, checkpoint=path, checkpoint_every=30, **options)
        resumed = pmc.resume(path, kernel, mesh=options["mesh"], progress_bar=False)
        same = distance(stored.position, resumed.position)
        try:
            pmc.resume(path, kernel, progress_bar=False)
        except pmc.CheckpointMismatchError as error:
            message = str(error)
        here = draw(kernel, 90, solver="sequential")
        return {"error": distance(stored.position, here.position), "same": same, "told": message}


def regression(data, q):
    X, y = data
    logits = X @ q
    return jnp.sum(y * logits - jnp.logaddexp(0.0, logits)) - 0.5 * jnp.sum(q**2)


def data():
    """Return how a chain differs whose data are spread over an axis of the mesh."""
    X, y, _ = load_german_credit()
    mesh = mesh_of((2, 2, 2), ("chain", "time", "data"))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    here = jnp.asarray(X), jnp.asarray(y)
    spread = jax.device_put(here, rows)

    def kernel(data):
        return pmc.hmc(jax.tree_util.Partial(regression, data), 0.05, None, 5)

    starts = jnp.zeros((2, X.shape[1]))
    plain = draw(kernel(here), 60, starts, solver="sequential")
    over = draw(kernel(spread), 60, starts, mesh=mesh, window=30)
    return distance(over.position, plain.position)


CASES = {
    **{
        f"{kernel} {method}": lambda kernel=kernel, method=method: matrix(kernel, method)
        for kernel in ("mala", "hmc")
        for method in METHODS
    },
    "hmc 2x4": lambda: compare(KERNELS["hmc"], mesh_of((2, 4)), window=24),
    "auto": lambda: compare(KERNELS["mala"], mesh_of((4, 2)), solver="auto"),
    "auto by chains": lambda: compare(KERNELS["mala"], mesh_of((8, 1)), solver="auto"),
    "default": lambda: compare(KERNELS["mala"], mesh_of((2, 4))),
    "rmh": lambda: compare(KERNELS["rmh"], mesh_of((2, 4)), window=24),
    "97 draws": lambda: compare(KERNELS["hmc"], mesh_of((2, 4)), num_samples=97, window=10),
    "5 draws": lambda: compare(KERNELS["hmc"], mesh_of((1, 8)), num_samples=5),
    "3 chains": lambda: compare(KERNELS["hmc"], mesh_of((2, 4)), chains=3, window=24),
    "1 chain": lambda: compare(KERNELS["hmc"], mesh_of((4, 2)), chains=1, window=24),
    "time alone": lambda: compare(KERNELS["hmc"], mesh_of((8,), ("time",)), window=24),
    "chains alone": lambda: compare(KERNELS["hmc"], mesh_of((8,), ("chain",)), window=24),
    "axes swapped": lambda: compare(KERNELS["hmc"], mesh_of((4, 2), ("time", "chain")), window=24),
    "typed axes": lambda: compare(
        KERNELS["hmc"], jax.make_mesh((2, 4), ("chain", "time")), window=24
    ),
    "checkpoint": checkpoint,
    "data": data,
}


if __name__ == "__main__":
    print(json.dumps({name: CASES[name]() for name in sys.argv[1:]}))
