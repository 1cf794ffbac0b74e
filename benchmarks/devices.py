"""One chain over 1, 2, 4 and 8 devices of the host, and what that predicts for real ones.

    python benchmarks/devices.py [--draws 1024] [--devices 1 2 4 8]

German credit (1,000 rows, 21 coefficients), whitened by the Laplace covariance, HMC 5 x 0.3 in
float64, all draws in one window over the axis "time" of a mesh. For every number of devices it
prints the Newton iterations, the largest difference from the plain loop, the bytes that a device
receives in an iteration, by kind, read off the compiled program, and the time relative to one
device: the host's devices share its cores, so that this shows the overhead and not a gain.

Then it prints the efficiency that the messages predict for accelerators (docs/howto/devices.md has
the formulas): the share of an iteration's time that is not spent on communication. The first column
assumes steps like those of a logistic regression with 50,000 rows and 100 coefficients.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from german_credit import TOLERANCE, whitened_posterior
from programs import messages

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel
from parallel_mcmc.placement.over_mesh import OverMesh

MODELS = {"Surrogate": pmc.Surrogate(), "Diagonal": pmc.Diagonal(), "Dense": pmc.Dense()}
REPEATS = 5
BYTES = {"f64": 8, "f32": 4, "s64": 8, "s32": 4, "u32": 4, "pred": 1}

LATENCY = 10e-6
"""Seconds of a message, start included."""
BANDWIDTH = {8: 450e9, 1024: 50e9}
"""Bytes a second and device up to as many devices: NVLink 4 inside a node, 400 Gb/s beyond."""
STEP_SECONDS = {"large data": 3e-6, "small data": 3e-8}
"""Of one evaluation in a full batch: 1e8 operations at 3.3e13 a second, and a hundredth of that."""
WINDOW = 4096
"""Steps of a device."""


def sent_in_an_iteration(*chain):
    """Return the bytes of every collective of a Newton iteration, by its kind."""
    found = messages(compiled(*chain))
    # The carries are sent in the body of the loop, by the largest of all gathers.
    loop = max((bytes_of(m), m.place) for m in found if m.kind == "all-gather")[1]
    within = [message for message in found if message.place == loop]
    return {
        kind: [bytes_of(message) for message in within if message.kind == kind]
        for kind in {message.kind for message in within}
    }


def bytes_of(message):
    return math.prod(message.shape) * BYTES[message.dtype]


def measure(draws):
    """Return what is measured on the devices that this process has."""
    jax.config.update("jax_enable_x64", True)
    logdensity, dim = whitened_posterior()
    kernel = pmc.hmc(logdensity, 0.3, jnp.ones(dim), 5)
    start = jax.random.normal(jax.random.key(1), (dim,))
    devices = len(jax.devices())
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("time",)) if devices > 1 else None
    options = {"progress_bar": False}
    loop = pmc.sample(jax.random.key(0), kernel, start, draws, solver="sequential", **options)
    results = {}
    for name, model in MODELS.items():
        method = pmc.Newton(model)
        times = []
        for _ in range(REPEATS + 1):
            begin = time.perf_counter()
            samples = pmc.sample(
                jax.random.key(0),
                kernel,
                start,
                draws,
                solver=method,
                window=draws,
                mesh=mesh,
                **options,
            )
            times.append(time.perf_counter() - begin)
        results[name] = {
            "iterations": int(samples.stats.iterations[0]),
            "fallback": int(samples.stats.fallback_steps[0]),
            "difference": float(np.abs(samples.position - loop.position).max()),
            "seconds": float(np.median(times[1:])),
            "messages": sent_in_an_iteration(kernel, method, start, draws, mesh) if mesh else {},
        }
    return results


def compiled(kernel, method, start, draws, mesh):
    """Return the compiled program of the chain."""
    placement = OverMesh(mesh, 1)
    runner = placement.adapt(Parallel(method, draws, tolerance=TOLERANCE))
    kernel = placement.enter(kernel)
    states = placement.enter_states(jax.tree.map(lambda leaf: leaf[None], kernel.init(start)))
    keys = jax.random.split(jax.random.key(0), (1, draws))
    run = jax.jit(placement.run)
    return run.lower(runner, kernel, states, placement.enter(keys)).compile().as_text()


def report(options):
    """Print the measured table."""
    print(f"jax {jax.__version__}, Python {platform.python_version()}, {platform.machine()}")
    print(f"German credit, HMC 5 x 0.3, {options.draws} draws in one window, float64\n")
    print("| devices | model | iterations | difference | gather, bytes | permute, bytes | time |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    alone = {}
    for devices in options.devices:
        environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_PLATFORMS": "cpu",
        }
        command = [sys.executable, __file__, "--measure", "--draws", str(options.draws)]
        output = subprocess.run(command, env=environment, capture_output=True, text=True)
        if output.returncode:
            raise RuntimeError(output.stderr)
        for name, case in json.loads(output.stdout).items():
            alone.setdefault(name, case["seconds"])
            sent = case["messages"]
            (gathered,) = sent.pop("all-gather", [0])
            (passed,) = sent.pop("collective-permute", [0])
            if sent:
                raise RuntimeError(f"unexpected messages: {sent}")
            gathered = gathered * (devices - 1) // devices
            print(
                f"| {devices} | {name} | {case['iterations']} | {case['difference']:.0e} | "
                f"{gathered} | {passed} | {case['seconds'] / alone[name]:.1f} |"
            )


def efficiency(devices, dim, dense, step_seconds):
    """Return the share of an iteration that is not communication, by the formulas of the guide."""
    if devices == 1:
        return 1.0
    carry = (dim**2 if dense else dim) + dim + 7
    state = 2 * dim + 1
    received = 4 * ((devices - 1) * carry + state)
    bandwidth = next(rate for most, rate in BANDWIDTH.items() if devices <= most)
    sending = LATENCY * (np.log2(devices) + 1) + received / bandwidth
    return WINDOW * step_seconds / (WINDOW * step_seconds + sending)


def predict():
    """Print the predicted table."""
    print(
        f"\nPredicted, {WINDOW} steps a device, D = 100, float32, {LATENCY * 1e6:.0f} µs a message"
    )
    names = [f"{data}, {model}" for data in STEP_SECONDS for model in ("diagonal", "dense")]
    print("\n| devices | " + " | ".join(names) + " |")
    print("| ---: |" + " ---: |" * len(names))
    for devices in (1, 2, 4, 8, 16, 64, 256, 1024):
        shares = [
            efficiency(devices, 100, dense, seconds)
            for seconds in STEP_SECONDS.values()
            for dense in (False, True)
        ]
        print(f"| {devices} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=1024, help="draws of the chain, one window")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.draws)))
        return
    report(options)
    predict()


if __name__ == "__main__":
    main()
