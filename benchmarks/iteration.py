"""What one Newton iteration costs: time, operations, memory, and its parts.

    python benchmarks/iteration.py [--draws 4096] [--repeats 9] [--parts scans] [--methods Dense]

``scans`` times the linear recurrence: the associative scan and what this device runs instead.
``iteration`` draws German credit by MALA 0.3, whitened, in single precision, all states in one
window: the time of an iteration is that of eight less that of two, by six. Beside it stand the
batch of log densities and gradients that no method can do without, the instructions of the compiled
loop and the memory of the program. ``chaos`` solves the logistic map, which is left to the loop.
Wall time is what a user waits for; processor time hardly depends on what else the machine does.
"""

import argparse
import platform
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from german_credit import whitened_posterior
from programs import compiled_loop

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel
from parallel_mcmc.solver.scans import block_scan, dense_scan, diagonal_scan

METHODS = {
    "Surrogate": pmc.Newton(pmc.Surrogate()),
    "Diagonal(1), no sweep": pmc.quasi_deer(),
    "Diagonal(1)": pmc.Newton(pmc.Diagonal()),
    "Dense": pmc.Newton(),
}


def median_times(repeats, *calls):
    """Return for every call its median wall and processor time, in seconds, measured in turn."""
    for call in calls:
        jax.block_until_ready(call())
    times = np.empty((repeats, len(calls), 2))
    for row in times:
        for i, call in enumerate(calls):
            wall, processor = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            row[i] = time.perf_counter() - wall, time.process_time() - processor
    return np.median(times, axis=0)


def scans(options):
    print(f"{'recurrence':10} {'T':>6} {'D':>4} {'associative scan':>17} {'here':>8}  milliseconds")
    rng = np.random.default_rng(0)
    for scan, length, matrix, vector in (
        (diagonal_scan, 4096, (21,), (21,)),
        (diagonal_scan, 65_536, (100,), (100,)),
        (block_scan, 4096, (2, 2, 21), (2, 21)),
        (dense_scan, 1024, (21, 21), (21,)),
    ):
        a = jnp.asarray(0.5 * rng.normal(size=(length, *matrix)), jnp.float32)
        b = jnp.asarray(rng.normal(size=(length, *vector)), jnp.float32)
        deep = jax.jit(lambda a, b, scan=scan: scan(a, b, jax.lax.associative_scan))
        calls = [lambda f=f, a=a, b=b: f(a, b) for f in (deep, jax.jit(scan))]
        theirs, ours = 1e3 * median_times(options.repeats, *calls)[:, 0]
        name = scan.__name__.removesuffix("_scan")
        print(f"{name:10} {length:6} {vector[-1]:4} {theirs:17.2f} {ours:8.2f}")


def iteration(options):
    logdensity, dim = whitened_posterior()
    kernel = pmc.mala(logdensity, 0.3)
    state = kernel.init(jax.random.normal(jax.random.key(1), (dim,)))
    keys = jax.random.split(jax.random.key(2), options.draws)
    positions = jax.random.normal(jax.random.key(3), (options.draws, dim))
    batch = jax.jit(jax.vmap(jax.value_and_grad(logdensity)))
    micro = 1e6 / options.draws
    size = positions.size * positions.dtype.itemsize

    def program(method, iterations):
        runner = Parallel(method, options.draws, 1e-9, iterations)

        def run(kernel, state, keys):
            # Not the states, which the plain loop would have to finish.
            return runner.solve(kernel, state, keys)[0].residual_history

        return jax.jit(run).lower(kernel, state, keys).compile()

    print(
        f"\n{'model':22} {'wall':>7} {'processor':>9} {'batch: wall':>11} {'processor':>9} "
        f"{'ratio':>6} {'instructions':>12} {'fusions':>7} {'arrays T x D':>12}  "
        "microseconds a state"
    )
    for name in options.methods:
        method = METHODS[name]
        two, eight = program(method, 2), program(method, 8)
        calls = [lambda f=f: f(kernel, state, keys) for f in (two, eight)]
        short, long, bare = micro * median_times(options.repeats, *calls, lambda: batch(positions))
        own = (long - short) / 6
        counts = compiled_loop(eight.as_text())
        arrays = eight.memory_analysis().temp_size_in_bytes / size
        print(
            f"{name:22} {own[0]:7.1f} {own[1]:9.1f} {bare[0]:11.1f} {bare[1]:9.1f} "
            f"{own[1] / bare[1]:6.1f} {counts.instructions:12} {counts.fusions:7} {arrays:12.0f}",
            flush=True,
        )


def logistic_map(x, _):
    return 4 * x * (1 - x)


def chaos(options):
    start, inputs = jnp.array(0.3), jnp.zeros(2048)

    def loop(start, inputs):
        return jax.lax.scan(lambda x, u: (logistic_map(x, u),) * 2, start, inputs)[1]

    def solved(start, inputs):
        return pmc.solve(logistic_map, start, inputs)._replace(problem=None)

    plain, inside = jax.jit(loop), jax.jit(solved)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pmc.SequentialFallbackWarning)
        calls = [lambda f=f: f(start, inputs) for f in (plain, inside, solved)]
        times = 1e6 * median_times(options.repeats, *calls)[:, 0]
        solution = inside(start, inputs)
    print(
        f"\nlogistic map, T = 2,048: {solution.iterations} iterations, "
        f"{solution.evaluations} evaluations, {solution.fallback_steps} steps by the loop\n"
        f"microseconds: lax.scan {times[0]:.0f}, solve within jit {times[1]:.0f}, "
        f"solve {times[2]:.0f}"
    )


PARTS = {"scans": scans, "iteration": iteration, "chaos": chaos}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=4096, help="draws of a chain, one window")
    parser.add_argument("--repeats", type=int, default=9, help="runs that a median is taken of")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    print(
        f"jax {jax.__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{jax.default_backend()}\n"
    )
    for name in options.parts:
        PARTS[name](options)


if __name__ == "__main__":
    main()
