"""Iterations, time and memory against length, dimension, number of data and number of chains.

    python benchmarks/scaling.py [--axes length rows] [--largest 20] [--x32]

Logistic regressions by HMC with 5 steps of 0.3 in whitened coordinates, with the package's own
Jacobian model, all states of a chain in one window unless ``--window`` says otherwise. Times are
those of the compiled program, once warm; memory is what the compiler sets aside for it beside its
arguments and results. The plain loop is timed on the same chains.
"""

import time

import jax
from harness import Table, parser_of, start
from posteriors import german_credit, regression

from parallel_mcmc.kernels.chain import Parallel, Sequential, run_chains

LONGEST_LOOP = 2**16
"""Draws of all chains above which the loop is not run, and nothing is run twice."""


def cases(axis, largest):
    """Yield the value on the axis, a problem, the length and the number of chains."""
    if axis == "length":
        problem = german_credit()
        for power in range(8, largest + 1, 2):
            yield 2**power, problem, 2**power, 1
    elif axis == "dimension":
        for dim in (2, 10, 30, 100, 300, 1000):
            yield dim, regression(4000, dim, True, 512), 512, 1
    elif axis == "rows":
        for rows in (1_000, 10_000, 100_000, 1_000_000):
            yield rows, regression(rows, 10, True, 256), 256, 1
    else:
        problem = german_credit()
        for chains in (1, 4, 16, 64, 256):
            yield chains, problem, 256, chains


def measure(runner, problem, length, chains):
    """Return the chains, seconds, and the bytes of the program's temporaries."""
    kernel = problem.kernel("HMC")
    starts = jax.random.normal(jax.random.key(0), (chains, problem.dim))
    states = jax.vmap(kernel.move, in_axes=(None, 0))(kernel.init(starts[0]), starts)
    keys = jax.random.split(jax.random.key(1), (chains, length))
    compiled = jax.jit(run_chains).lower(runner, kernel, states, keys).compile()
    memory = compiled.memory_analysis()
    if length * chains <= LONGEST_LOOP:
        # A long run is timed at once: what a first one costs more hardly shows.
        jax.block_until_ready(compiled(runner, kernel, states, keys))
    times = []
    for _ in range(2 if length * chains <= LONGEST_LOOP else 1):
        begin = time.perf_counter()
        chain = jax.block_until_ready(compiled(runner, kernel, states, keys))
        times.append(time.perf_counter() - begin)
    return chain, min(times), memory.temp_size_in_bytes


def main():
    axes = ("length", "dimension", "rows", "chains")
    parser = parser_of(__doc__)
    parser.add_argument("--axes", nargs="+", choices=axes, default=axes)
    parser.add_argument("--largest", type=int, default=16, help="binary logarithm of the length")
    parser.add_argument("--window", type=int, help="longest window; by default the whole chain")
    options = start(parser)
    for axis in options.axes:
        table = Table(
            f"scaling: {axis}",
            {
                axis: "9,d",
                "window": "9,d",
                "iterations": "5d",
                "left to the loop": "6,d",
                "µs a draw": "9.2f",
                "by the loop, µs": "9.2f",
                "memory, MiB": "8,.1f",
            },
        )
        for value, problem, length, chains in cases(axis, options.largest):
            window = min(length, options.window or length)
            chain, seconds, memory = measure(Parallel(None, window), problem, length, chains)
            draws = length * chains
            loop = None
            if draws <= LONGEST_LOOP:
                loop = measure(Sequential(), problem, length, chains)[1] / draws * 1e6
            table.add(
                *(value, window, chain.stats.iterations.max(), chain.stats.fallback_steps.sum()),
                *(seconds / draws * 1e6, loop, memory / 2**20),
            )
        table.save(options)


if __name__ == "__main__":
    main()
