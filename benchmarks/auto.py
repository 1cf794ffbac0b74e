"""Time of a draw: ``sample(..., solver="auto")`` against the loops of BlackJAX and NumPyro.

    python benchmarks/auto.py [--only german] [--kernels HMC] [--chains 1] [--repeats 5] [--x32]

For every posterior, kernel and number of chains all sides are run in turn in one process, compiled
and warm; printed are the medians, BlackJAX's time over ours (above 1: ours is faster), what was
chosen, and the largest difference of the positions from BlackJAX's. BlackJAX's side is
`run_inference_algorithm` in one jit, mapped over the chains, with the positions and acceptance
rates as its history; NumPyro's is its kernel in one compiled loop, the same HMC with other keys; it
has no MALA. The drop-ins are ours in place of BlackJAX's call and of NumPyro's `MCMC.run`, which is
timed as well. Data are arguments of no side: all close over them. The posteriors of posteriordb are
drawn from in double precision only.
"""

from functools import partial
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.infer
from blackjax.util import run_inference_algorithm
from harness import Table, in_turn, parser_of, start
from posteriors import PROBLEMS, Problem
from references import REFERENCES

import parallel_mcmc as pmc
import parallel_mcmc.blackjax
import parallel_mcmc.numpyro

KERNELS = ("MALA", "HMC")
SIDES = ("auto", "blackjax", "numpyro", "blackjax drop-in", "numpyro MCMC", "numpyro drop-in")


def keep(state, info):
    """Return what the histories of BlackJAX's loops hold."""
    return state.position, info.acceptance_rate


def over_chains(run: Any, algorithm: Any, positions: jax.Array, keys: jax.Array, total: int) -> Any:
    """Run BlackJAX's loop, or ours in its place, for every chain."""

    def chain(position, key):
        state = algorithm.init(position)
        return run(key, algorithm, total, initial_state=state, transform=keep)[1]

    return jax.vmap(chain)(positions, keys)


def numpyro_kernel(module: Any, problem: Problem) -> Any:
    """Return NumPyro's HMC, or ours in its place."""
    return module.HMC(
        potential_fn=lambda q: -problem.logdensity(q),
        step_size=problem.hmc_step_size,
        # The number of steps is this over the step size, rounded up or to the nearest.
        trajectory_length=problem.hmc_step_size * (problem.num_integration_steps - 1e-3),
        inverse_mass_matrix=jnp.ones(problem.dim),
        adapt_step_size=False,
        adapt_mass_matrix=False,
        dense_mass=False,
    )


def numpyro_loop(problem: Problem, positions: jax.Array, keys: jax.Array) -> Any:
    """Return a function that runs NumPyro's HMC in one compiled loop."""
    kernel = numpyro_kernel(numpyro.infer, problem)
    first = [kernel.init(key, 0, q, (), {}) for key, q in zip(keys, positions, strict=True)]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *first)

    def step(state, _):
        state = kernel.sample(state, (), {})
        return state, (state.z, state.accept_prob)

    loop = jax.jit(jax.vmap(lambda s: jax.lax.scan(step, s, length=problem.num_samples)[1]))
    return lambda: loop(states)


def numpyro_run(module: Any, problem: Problem, positions: jax.Array, key: jax.Array) -> Any:
    """Return a function that runs NumPyro's MCMC, or ours in its place."""
    mcmc = module.MCMC(
        numpyro_kernel(module, problem),
        num_warmup=0,
        num_samples=problem.num_samples,
        num_chains=len(positions),
        chain_method="vectorized",
        progress_bar=False,
    )

    def run():
        mcmc.run(key, init_params=positions if len(positions) > 1 else positions[0])
        return mcmc.get_samples(group_by_chain=True)

    return run


def sides_of(problem: Problem, kind: str, chains: int) -> dict[str, Any]:
    """Return what is timed: a function of no argument for every side."""
    kernel, algorithm = problem.kernel(kind), problem.kernel(kind, blackjax)
    total = problem.num_samples
    positions = jax.random.normal(jax.random.key(1), (chains, problem.dim))
    key = jax.random.key(2)
    keys = key[None] if chains == 1 else jax.random.split(key, chains)
    where = positions[0] if chains == 1 else positions
    loop = jax.jit(partial(over_chains, run_inference_algorithm, algorithm, total=total))
    ours = pmc.blackjax.run_inference_algorithm
    drop_in = jax.jit(partial(over_chains, ours, algorithm, total=total))
    # A single chain is run as a user runs it; several are mapped over, in one jit.
    one = [algorithm.init(positions[0]), keys[0]]
    sides = {
        "auto": lambda: pmc.sample(
            key, kernel, where, total, num_chains=chains, progress_bar=False
        ),
        "blackjax": lambda: loop(positions, keys),
        "blackjax drop-in": lambda: (
            ours(one[1], algorithm, total, initial_state=one[0], transform=keep)[1]
            if chains == 1
            else drop_in(positions, keys)
        ),
    }
    if kind == "HMC":
        sides["numpyro"] = numpyro_loop(problem, positions, keys)
        sides["numpyro MCMC"] = numpyro_run(numpyro.infer, problem, positions, key)
        sides["numpyro drop-in"] = numpyro_run(pmc.numpyro, problem, positions, key)
    return sides


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", default=[""], help="posteriors whose name holds this")
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=KERNELS)
    parser.add_argument("--chains", nargs="+", type=int, default=(1, 4), help="numbers of chains")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="what is timed")
    parser.add_argument("--draws", type=int, help="draws of a chain, for those of the posterior")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--name", default="time of a draw", help="of the table that is kept")
    options = start(parser)
    columns = {"posterior": "<22", "kernel": "<6", "chains": "6d", "draws": "7,d"}
    columns |= {f"{side}, µs": "9.2f" for side in options.sides}
    columns |= {"BlackJAX's over ours": "6.2f", "NumPyro's over ours": "6.2f"}
    columns |= {"difference": "10.1e", "choice": "<10"}
    table = Table(options.name, columns)
    for name, build in (PROBLEMS if options.x32 else PROBLEMS | REFERENCES).items():
        if not any(part in name for part in options.only):
            continue
        problem = build()
        if options.draws:
            problem = problem._replace(num_samples=options.draws)
        for kind in options.kernels:
            for chains in options.chains:
                sides = sides_of(problem, kind, chains)
                sides = {side: sides[side] for side in options.sides if side in sides}
                times = in_turn(sides, options.repeats)
                draw = {
                    side: found.median / (problem.num_samples * chains) * 1e6
                    for side, found in times.items()
                }
                samples = times["auto"].result
                difference = None
                if "blackjax" in times:
                    expected = np.asarray(times["blackjax"].result[0])
                    difference = float(np.max(np.abs(samples.position - expected)))
                table.add(
                    *(name, kind, chains, problem.num_samples),
                    *(draw.get(side) for side in options.sides),
                    *(draw[s] / draw["auto"] if s in draw else None for s in SIDES[1:3]),
                    *(difference, samples.stats.choice.solver),
                )
    table.save(options)


if __name__ == "__main__":
    main()
