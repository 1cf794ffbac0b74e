"""Effective draws per second: one long chain against many short ones, and against NUTS.

    python benchmarks/effective.py [--draws 8192] [--repeats 3] [--x32]

"long or many": HMC on whitened posteriors with the same number of draws in all, as one chain or as
many, by the plain loop with the chains side by side, and by the parallel solver. All chains start
at twice the posterior's scale, and lose their first draws as burn-in. *Rounds* are the
batches of steps that come one after the other: the steps of a chain in the loop, the Newton
iterations in parallel. They are what a wide device would pay for.

"nuts": what a user of NumPyro would run, four chains with their warmup, by NumPyro's NUTS and by
the HMC of `parallel_mcmc.numpyro`. Effective draws are the least bulk size over the coordinates, by
ArviZ; times are those of compiled programs.
"""

import time

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.infer
from harness import Table, in_turn, parser_of, start
from posteriors import PROBLEMS

import parallel_mcmc as pmc
import parallel_mcmc.models
import parallel_mcmc.numpyro
from parallel_mcmc.data import load_eight_schools, load_german_credit

BURN_IN = 16
SCATTER = 2.0
CHAINS = (1, 16, 128)


def diagnose(draws):
    """Return the least bulk effective sample size and the largest R-hat over the coordinates.

    None where there are too few draws, or too few chains for R-hat.
    """
    if draws.shape[1] < 4:
        return None, None
    columns = [np.asarray(draws[..., i]) for i in range(draws.shape[-1])]
    sizes = [float(arviz.ess(column)) for column in columns]
    several = draws.shape[0] > 1
    return min(sizes), max(float(arviz.rhat(c)) for c in columns) if several else None


def long_or_many(options):
    table = Table(
        "long or many",
        {
            "posterior": "<22",
            "solver": "<10",
            "chains": "6d",
            "draws of each": "7,d",
            "rounds": "7,d",
            "seconds": "8.3f",
            "effective draws": "8,.0f",
            "a second": "8,.0f",
            "per round": "8.2f",
            "R-hat": "6.3f",
        },
    )
    for name in options.only:
        problem = PROBLEMS[name]()
        kernel = problem.kernel("HMC")
        for chains in CHAINS:
            length = options.draws // chains
            starts = SCATTER * jax.random.normal(jax.random.key(1), (chains, problem.dim))

            def run(solver, starts=starts, chains=chains, length=length, kernel=kernel):
                return pmc.sample(
                    jax.random.key(2),
                    kernel,
                    starts[0] if chains == 1 else starts,
                    length,
                    num_chains=chains,
                    solver=solver,
                    window=length,
                    progress_bar=False,
                )

            sides = {solver: lambda s=solver, run=run: run(s) for solver in options.solvers}
            for solver, found in in_turn(sides, options.repeats).items():
                samples = found.result
                rounds = int(np.max(samples.stats.iterations)) if solver == "parallel" else length
                size, rhat = diagnose(samples.position[:, BURN_IN:])
                rates = (size / found.median, size / rounds) if size else (None, None)
                table.add(name, solver, chains, length, rounds, found.median, size, *rates, rhat)
    table.save(options)


def nuts(options):
    credit, (y, sigma) = load_german_credit(), load_eight_schools()
    cases = {
        "german credit": (pmc.models.german_credit, (credit.X, credit.y)),
        "eight schools": (pmc.models.eight_schools, (sigma, y)),
    }
    table = Table(
        "nuts",
        {
            "model": "<14",
            "sampler": "<22",
            "warmup, seconds": "8.2f",
            "draws, seconds": "8.2f",
            "effective draws": "8,.0f",
            "a second of drawing": "8,.0f",
            "a second in all": "8,.0f",
            "R-hat": "6.3f",
        },
    )
    for name, (model, data) in cases.items():
        sides = {
            "NumPyro NUTS": nuts_run(model, data),
            "parallel_mcmc HMC": our_run(model, data),
        }
        for label, (warmup, draw) in sides.items():
            for _ in range(2):  # Once for the compiler.
                begin = time.perf_counter()
                state = jax.block_until_ready(warmup())
                warm = time.perf_counter() - begin
                begin = time.perf_counter()
                draws = jax.block_until_ready(draw(state))
                drawing = time.perf_counter() - begin
            flat = [np.asarray(leaf).reshape(4, 1000, -1) for leaf in jax.tree.leaves(draws)]
            size, rhat = diagnose(np.concatenate(flat, axis=-1))
            rates = size / drawing, size / (drawing + warm)
            table.add(name, label, warm, drawing, size, *rates, rhat)
    table.save(options)


def nuts_run(model, data):
    """Return warmup and drawing by NumPyro's NUTS, each one compiled loop over all chains."""
    kernel = numpyro.infer.NUTS(model, dense_mass=True)
    keys = jax.random.split(jax.random.key(0), 4)
    first = [kernel.init(key, 500, None, data, {}) for key in keys]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *first)

    def step(state, _):
        state = kernel.sample(state, data, {})
        return state, state.z

    def loop(length):
        return jax.jit(jax.vmap(lambda state: jax.lax.scan(step, state, length=length)))

    warmup, draw = loop(500), loop(1000)
    return lambda: warmup(states)[0], lambda state: draw(state)[1]


def our_run(model, data):
    """Return warmup and drawing by the package, as a user of NumPyro calls it."""
    mcmc = pmc.numpyro.MCMC(
        pmc.numpyro.HMC(model),
        num_warmup=500,
        num_samples=1000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )

    def warmup():
        mcmc.post_warmup_state = None
        mcmc.warmup(jax.random.key(0), *data)
        return mcmc.post_warmup_state.z

    def draw(_):
        mcmc.run(jax.random.key(1), *data)
        return mcmc.get_samples(group_by_chain=True)

    return warmup, draw


def main():
    parser = parser_of(__doc__)
    parser.add_argument(
        "--only", nargs="+", default=["german credit", "gaussian 100-D"], help="posteriors"
    )
    parser.add_argument("--draws", type=int, default=8192, help="draws of all chains together")
    parser.add_argument(
        "--solvers", nargs="+", default=["sequential", "parallel"], help="of the first table"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side")
    options = start(parser)
    long_or_many(options)
    nuts(options)


if __name__ == "__main__":
    main()
