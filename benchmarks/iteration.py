"""What one Newton iteration costs: time, operations, memory, and its parts.

    python benchmarks/iteration.py --x32 [--draws 4096] [--parts scans] [--methods Dense]

``scans`` times the linear recurrence: the associative scan and what this device runs instead.
``iteration`` draws German credit by MALA 0.3, whitened, all states in one window: the time of an
iteration is that of eight less that of two, by six. Beside it stand the batch of log densities and
gradients that no method can do without, the instructions of the compiled loop and the memory of the
program; once more for a log density by ``jnp.logaddexp``, with its test for NaN. ``chaos`` solves
the logistic map, which is left to the loop. Wall time is what users wait for; processor time hardly
depends on what else the machine does.
"""

import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from german_credit import log1pexp, whitened_posterior
from harness import Table, in_turn, parser_of, start
from hlo import longest_loop

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel
from parallel_mcmc.solver.scans import block_scan, dense_scan, diagonal_scan


class Case(NamedTuple):
    method: pmc.Newton
    log1pexp: Callable[[jax.Array], jax.Array] = log1pexp


METHODS = {
    "Surrogate": Case(pmc.Newton(pmc.Surrogate())),
    "Surrogate, logaddexp": Case(pmc.Newton(pmc.Surrogate()), jax.nn.softplus),
    "Diagonal(1), no sweep": Case(pmc.Newton(pmc.Diagonal(sweeps=0))),
    "Diagonal(1)": Case(pmc.Newton(pmc.Diagonal())),
    "Dense": Case(pmc.Newton()),
}

MANY = 100


def scans(options):
    table = Table(
        "scans",
        {
            "recurrence": "<10",
            "T": "6d",
            "D": "4d",
            "associative scan, ms": "8.2f",
            "as solved here, ms": "8.2f",
        },
    )
    rng = np.random.default_rng(0)
    for scan, length, matrix, vector in (
        (diagonal_scan, 4096, (21,), (21,)),
        (diagonal_scan, 65_536, (100,), (100,)),
        (block_scan, 4096, (2, 2, 21), (2, 21)),
        (dense_scan, 1024, (21, 21), (21,)),
    ):
        a = jnp.asarray(0.5 * rng.normal(size=(length, *matrix)))
        b = jnp.asarray(rng.normal(size=(length, *vector)))
        sides = {
            "deep": jax.jit(lambda a, b, scan=scan: scan(a, b, jax.lax.associative_scan)),
            "here": jax.jit(scan),
        }
        calls = {name: lambda f=f, a=a, b=b: f(a, b) for name, f in sides.items()}
        times = in_turn(calls, options.repeats)
        medians = [1e3 * times[name].median for name in sides]
        table.add(scan.__name__.removesuffix("_scan"), length, vector[-1], *medians)
    table.save(options)


def program(method, iterations, kernel, state, keys):
    """Return the compiled program of so many iterations over all states."""
    runner = Parallel(method, len(keys), 1e-9, iterations)

    def run(kernel, state, keys):
        # Not the states, which the plain loop would have to finish.
        return runner.solve(kernel, state, keys)[0].residual_history

    return jax.jit(run).lower(kernel, state, keys).compile()


def iteration(options):
    table = Table(
        "iteration",
        {
            "model of the Jacobian": "<22",
            "wall, us a state": "6.1f",
            "processor, us": "6.1f",
            "a batch: wall, us": "6.1f",
            "processor": "6.1f",
            "instructions": "6d",
            "fusions": "6d",
            "arrays T x D": "6.0f",
        },
    )
    for name in options.methods:
        case = METHODS[name]
        logdensity, dim = whitened_posterior(case.log1pexp)
        kernel = pmc.mala(logdensity, 0.3)
        state = kernel.init(jax.random.normal(jax.random.key(1), (dim,)))
        keys = jax.random.split(jax.random.key(2), options.draws)
        positions = jax.random.normal(jax.random.key(3), (options.draws, dim))
        batch = jax.jit(jax.vmap(jax.value_and_grad(logdensity)))
        chain = kernel, state, keys
        two, eight = (program(case.method, count, *chain) for count in (2, 8))
        calls = {
            "two": lambda f=two, chain=chain: f(*chain),
            "eight": lambda f=eight, chain=chain: f(*chain),
            "batch": lambda f=batch, positions=positions: f(positions),
        }
        own, bare = [], []
        for clock in (time.perf_counter, time.process_time):
            times = in_turn(calls, options.repeats, clock)
            own.append((times["eight"].median - times["two"].median) / 6)
            bare.append(times["batch"].median)
        counts = longest_loop(eight.as_text())
        table.add(
            name,
            *(1e6 / options.draws * np.array([*own, *bare])),
            counts.instructions,
            counts.fusions,
            eight.memory_analysis().temp_size_in_bytes / positions.nbytes,
        )
    table.save(options)


def logistic_map(x, _):
    return 4 * x * (1 - x)


def chaos(options):
    first, inputs = jnp.array(0.3), jnp.zeros(2048)

    # One function object, since JAX traces a new one anew.
    def both(x, u):
        return (logistic_map(x, u),) * 2

    def loop(first, inputs):
        return jax.lax.scan(both, first, inputs)[1]

    def solved(first, inputs):
        return pmc.solve(logistic_map, first, inputs)._replace(problem=None)

    def eight(first, inputs):
        return loop(first, inputs), inputs[:128] + first, *(first + n for n in range(6))

    def many(run):
        """Return a function that makes one run after the other: no call, no handing out."""

        def again(_, first):
            # The next start depends on the last states, which are in [0, 1].
            return 0.3 + 1e-9 * jnp.mean(run(first, inputs))

        return lambda first, inputs: jax.lax.fori_loop(0, MANY, again, first)

    sides = {
        "lax.scan": jax.jit(loop),
        "solve within jit, its states": jax.jit(lambda *a: solved(*a).states),
        "lax.scan, with as many results as a solution": jax.jit(eight),
        "solve within jit": jax.jit(solved),
        "lax.scan, not within jit": loop,
        "solve": solved,
        "lax.scan, one of 100 in a program": jax.jit(many(loop)),
        "solve, one of 100 in a program": jax.jit(many(lambda *a: solved(*a).states)),
    }
    calls = {name: lambda f=f: f(first, inputs) for name, f in sides.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pmc.SequentialFallbackWarning)
        times = in_turn(calls, options.repeats)
    solution = times["solve"].result
    print(
        f"logistic map, T = 2,048: {solution.iterations} iterations, {solution.evaluations} "
        f"evaluations, {solution.fallback_steps} steps left to the loop\n"
    )
    table = Table("chaos", {"side": "<46", "microseconds": "7.1f"})
    for name, side in times.items():
        table.add(name, 1e6 * side.median / (MANY if "one of" in name else 1))
    table.save(options)


PARTS = {"scans": scans, "iteration": iteration, "chaos": chaos}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--draws", type=int, default=4096, help="draws of a chain, one window")
    parser.add_argument("--repeats", type=int, default=9, help="runs that a median is taken of")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = start(parser)
    for name in options.parts:
        PARTS[name](options)


if __name__ == "__main__":
    main()
