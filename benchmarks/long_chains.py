"""Recurrences of a million steps, by windows of several lengths and by that of a trial.

    python benchmarks/long_chains.py [--steps 1048576] [--windows 256 4096 16384]

By trial stands for ``solve`` with no window given. Shooting and the plain loop stand beside it.
"""

from functools import partial

import jax
import jax.numpy as jnp
from harness import Table, in_turn, parser_of, start
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

        def solved(step=step, initial=initial, inputs=inputs, **settings):
            return pmc.solve(step, initial, inputs, **settings)

        sides = {"the plain loop": partial(loop, inputs)}
        sides |= {f"{window:,}": partial(solved, window=window) for window in options.windows}
        sides |= {"by trial": solved, "shooting": partial(solved, method=pmc.Shooting())}
        times = in_turn(sides, 1)
        expected = times.pop("the plain loop")
        each = expected.median / options.steps * 1e6
        table.add(name, "the plain loop", None, each, expected.first, None)
        for shown, (first, again, found) in times.items():
            miss = float(jnp.abs(found.states - expected.result).max())
            each = again / options.steps * 1e6
            table.add(name, shown, found.iterations, each, first, miss)
    table.save(options)


if __name__ == "__main__":
    main()
