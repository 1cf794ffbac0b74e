"""One of two processes of a run; started by ``test_shards``.

The arguments are the number of the process, the port of the first one, the folder of the run, what
to do, and after how many segments to be killed, if at all.
"""

import json
import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.store.recorder import OnDisk

CHAINS, DRAWS, EVERY, WINDOW = 3, 90, 20, 10


def logdensity(q):
    return -0.5 * jnp.sum(q["a"] ** 2) - 0.5 * (q["b"] - 1.0) ** 4


def kernel():
    return pmc.hmc(logdensity, 0.4, None, 3)


def start():
    a = np.random.default_rng(0).normal(size=(CHAINS, 2))
    return {"a": jnp.asarray(a), "b": jnp.full(CHAINS, 0.5)}


def arguments(mesh):
    return {
        "key": jax.random.key(3),
        "kernel": kernel(),
        "initial_position": start(),
        "num_samples": DRAWS,
        "num_chains": CHAINS,
        "solver": "parallel",
        "window": WINDOW,
        "mesh": mesh,
        "progress_bar": False,
    }


def kill_after(segments):
    record = OnDisk.record

    def limited(recorder, segment):
        if recorder.manifest.segments == segments:
            os.kill(os.getpid(), signal.SIGKILL)
        record(recorder, segment)

    OnDisk.record = limited


def summary(samples):
    """Return what every process must agree on."""
    return {
        "mean": {name: np.mean(x, axis=(0, 1)).tolist() for name, x in samples.position.items()},
        "chains": len(samples.logdensity),
        "accepted": int(np.sum(samples.info.is_accepted)),
        "iterations": np.asarray(samples.stats.iterations).tolist(),
        "final": np.asarray(samples.final_state.position["b"]).tolist(),
    }


def main(process, port, folder, task, segments=None):
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process))
    devices = np.reshape(jax.devices(), (2, -1))
    mesh = jax.sharding.Mesh(devices, ("chain", "time"))
    if segments is not None:
        kill_after(int(segments))
    if task == "resume":
        samples = pmc.resume(folder, kernel(), start(), mesh=mesh, progress_bar=False)
    elif task == "checkpoint":
        samples = pmc.sample(**arguments(mesh), checkpoint=folder, checkpoint_every=EVERY)
    elif task == "memory":
        samples = pmc.sample(**arguments(mesh))
    elif task == "time over both":
        mesh = jax.sharding.Mesh(devices.ravel(), ("time",))
        samples = pmc.sample(**arguments(mesh))
    else:
        raise ValueError(task)
    print(json.dumps(summary(samples)))


if __name__ == "__main__":
    main(*sys.argv[1:])
