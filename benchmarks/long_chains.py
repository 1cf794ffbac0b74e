"""Recurrences of a million steps, by windows of several lengths and by that of a trial.

    python benchmarks/long_chains.py [--steps 1048576] [--windows 256 4096 16384]

By trial stands for ``solve`` with no window given. Shooting and the plain loop stand beside it.
"""

import time

import jax
import jax.numpy as jnp
from harness import Table, parser_of, start
from solver import two_wells

import parallel_mcmc as pmc

HIDDEN, WIDTH = 8, 4


def gated_unit():
    """Return the step of a gated recurrent unit (Cho et al., 2014) with random weights."""
    size = HIDDEN + WIDTH
    gates, proposal = (
        jax.random.normal(jax.random.key(seed), (rows, size)) / jnp.sqrt(size)
        for seed, rows in enumerate((2 * HIDDEN, HIDDEN))
    )

    def step(hidden, value):
        reset, update = jax.nn.sigmoid(gates @ jnp.append(hidden, value)).reshape(2, -1)
        proposed = jnp.tanh(proposal @ jnp.append(reset * hidden, value))
        return (1 - update) * hidden + update * proposed

    return step


def timed(run):
    """Return the seconds of a first call and of a second, and the result."""
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        result = jax.block_until_ready(run())
        seconds.append(time.perf_counter() - begin)
    return *seconds, result


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=2**20)
    parser.add_argument("--windows", type=int, nargs="+", default=[256, 4096, 16384])
    options = start(parser)
    table = Table(
        "long chains",
        {
            "recurrence": "<16",
            "window": "<16",
            "iterations": "9,d",
            "µs a step": "9.2f",
            "first call, s": "9.1f",
            "difference": "10.1e",
        },
    )
    for name, step, dim, width in (
        ("two wells", two_wells, 2, 2),
        ("gated unit", gated_unit(), HIDDEN, WIDTH),
    ):
        initial = jnp.zeros(dim)
        inputs = jax.random.normal(jax.random.key(0), (options.steps, width))

        @jax.jit
        def loop(inputs, step=step, initial=initial):
            return jax.lax.scan(lambda x, u: (step(x, u),) * 2, initial, inputs)[1]

        ways = {f"{window:,}": {"window": window} for window in options.windows}
        ways |= {"by trial": {}, "shooting": {"method": pmc.Shooting()}}
        first, again, expected = timed(lambda loop=loop, inputs=inputs: loop(inputs))
        table.add(name, "the plain loop", None, again / options.steps * 1e6, first, None)
        for shown, settings in ways.items():
            arguments = step, initial, inputs, settings
            first, again, found = timed(lambda a=arguments: pmc.solve(*a[:3], **a[3]))
            miss = float(jnp.abs(found.states - expected).max())
            row = name, shown, found.iterations, again / options.steps * 1e6, first, miss
            table.add(*row)
    table.save(options)


if __name__ == "__main__":
    main()
