"""Newton iterations of every method on recurrences from easy to hard, all states in one window.

    python benchmarks/solver.py [--keys 3] [--longest 1024] [--shortest] [--cases banana]
        [--methods default] [--name solver]

In float64 and in coordinates whitened by the metric named. A count is the number of iterations
until the solver certifies every state to the tolerance; the difference from the sequential chain
is printed beside it. One that ends in the loop is shown as ``>`` the iterations spent and the
states that were left. Counts do not depend on the machine.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
from german_credit import whitened_posterior
from harness import Table, parser_of, start
from posteriors import banana, eight_schools, mixture

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel, Sequential

TOLERANCE = 2.5e-5
BUDGET = 200
METHODS = {
    "default": pmc.Newton(),
    "jacobi": pmc.jacobi(),
    "picard": pmc.picard(),
    "deer": pmc.deer(),
    "quasi_deer": pmc.quasi_deer(),
    "diagonal+sweep": pmc.Newton(pmc.Diagonal()),
    "quasi_elk(0.1)": pmc.quasi_elk(0.1),
    "elk(0.1)": pmc.elk(0.1),
}


def two_wells(x, noise):
    """One Euler-Maruyama step of the diffusion of arXiv 2508.16817, section 6."""
    means, variances = jnp.array([[-1.4, 0], [1.6, 0]]), jnp.array([[0.45, 0.45], [0.54, 0.45]])

    def logdensity(x):
        logs = -0.5 * jnp.sum((x - means) ** 2 / variances + jnp.log(variances), axis=1)
        return jax.scipy.special.logsumexp(logs + jnp.log(jnp.array([0.49, 0.51])))

    return x + 0.01 * jax.grad(logdensity)(x) + jnp.sqrt(0.02) * noise


@jax.jit
def solved(runner, kernel, state, keys):
    """Return the solver's own result, in whitened coordinates."""
    return runner.solve(kernel, state, keys)[0]


@jax.jit
def looped(kernel, state, keys):
    """Return the chain of the plain loop, in whitened coordinates."""
    return jax.vmap(kernel.metric.whiten)(Sequential().run(kernel, state, keys).states.position)


def chain(kernel, spread):
    """Return the problem of a kernel whose chains start at ``spread`` times normal numbers."""

    def run(method, seed, length):
        start_key, key = jax.random.split(jax.random.key(seed))
        start = jnp.asarray(spread) * jax.random.normal(start_key, jnp.shape(spread))
        state, keys = kernel.init(start), jax.random.split(key, length)
        runner = Parallel(method, length, TOLERANCE, BUDGET)
        solution = solved(runner, kernel, state, keys)
        gap = jnp.abs(solution.states.position - looped(kernel, state, keys))
        return solution, float(gap.max())

    return run


def diffusion(method, seed, length):
    noise = jax.random.normal(jax.random.key(seed), (length, 2))
    solution = pmc.solve(
        two_wells,
        jnp.zeros(2),
        noise,
        method=method,
        window=length,
        scale=1.0,
        tolerance=TOLERANCE,
        max_iterations=BUDGET,
    )
    expected = jax.lax.scan(lambda x, u: (two_wells(x, u),) * 2, jnp.zeros(2), noise)[1]
    return solution, float(jnp.abs(solution.states - expected).max())


def cases():
    """Return, for every case, its problem and the lengths of its rows with their targets."""
    metric = jnp.array([20.0, 1.2, *[0.9] * 8])
    schools = partial(
        pmc.hmc, lambda q: eight_schools(q[0], q[1], q[2:]), inverse_mass_matrix=metric
    )
    credit, dim = whitened_posterior()
    return {
        "eight schools, HMC 8 x 0.25": (
            chain(schools(step_size=0.25, num_integration_steps=8), jnp.sqrt(metric)),
            {1024: 20, 8192: 22},
        ),
        "eight schools, HMC 4 x 0.4": (
            chain(schools(step_size=0.4, num_integration_steps=4), jnp.sqrt(metric)),
            {1024: 22, 8192: 28},
        ),
        "banana, HMC 8 x 0.5": (
            chain(pmc.hmc(banana, 0.5, jnp.ones(2), 8), jnp.array([10.0, 1.0])),
            {1024: 16, 8192: 24, 100_000: 45},
        ),
        "German credit, HMC 5 x 0.3": (
            chain(pmc.hmc(credit, 0.3, jnp.ones(dim), 5), jnp.ones(dim)),
            {1024: 5, 65_536: 8},
        ),
        "German credit, MALA 0.3": (chain(pmc.mala(credit, 0.3), jnp.ones(dim)), {4096: 10}),
        "mixture, MALA 0.5": (chain(pmc.mala(mixture, 0.5), jnp.ones(2)), {10_000: 60}),
        "two wells, diffusion": (diffusion, {10_000: 20}),
    }


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--keys", type=int, default=3, help="chains, each with its own key")
    parser.add_argument("--longest", type=int, default=10_000, help="leave out longer chains")
    parser.add_argument("--shortest", action="store_true", help="one chain of each case")
    parser.add_argument("--cases", default="", help="only cases whose name holds this")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--name", default="solver", help="of the table that is kept")
    options = start(parser)
    table = Table(
        options.name,
        {
            "case": "<28",
            "T": "7,d",
            "target": "6d",
            "method": "<15",
            "iterations": "<24",
            "median": "6.0f",
            "difference": "10.1e",
            "seconds": "7.0f",
        },
    )
    for name, (run, targets) in cases().items():
        if options.cases not in name:
            continue
        lengths = [length for length in targets if length <= options.longest]
        for length in lengths[:1] if options.shortest else lengths:
            for label in options.methods:
                begin = time.perf_counter()
                results = [run(METHODS[label], seed, length) for seed in range(options.keys)]
                counts = [
                    f"> {s.iterations} ({s.fallback_steps:,} left)"
                    if s.fallback_steps
                    else str(s.iterations)
                    for s, _ in results
                ]
                certified = [int(s.iterations) for s, _ in results if not s.fallback_steps]
                # Of all keys: one that is not certified took longer than any.
                half = len(results) // 2
                table.add(
                    *(name, length, targets[length], label, ", ".join(counts)),
                    sorted(certified)[half] if len(certified) > half else None,
                    *(max(error for _, error in results), time.perf_counter() - begin),
                )
    table.save(options)


if __name__ == "__main__":
    main()
