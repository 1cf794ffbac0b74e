"""Gradient evaluations of a draw, sixteen steps at a time: a sliding window, or shooting in lanes.

    python benchmarks/evaluations.py [--keys 3] [--draws 1024 8192]

German credit in whitened coordinates, from starts that the posterior could have drawn. A draw of
the plain loop takes one evaluation of the step: gradients are counted in units of those that a step
takes, as the mean over the keys. Counts do not depend on the machine.
"""

import jax
import jax.numpy as jnp
import numpy as np
from german_credit import whitened_posterior
from harness import Table, parser_of, start

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import InLanes, Parallel, Sequential

AT_A_TIME = 16
EVERY_STATE = pmc.Newton(pmc.Surrogate(), stride=1)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--keys", type=int, default=3, help="chains, each with its own key")
    parser.add_argument("--draws", type=int, nargs="+", default=(1024, 8192))
    options = start(parser)
    logdensity, dim = whitened_posterior()
    kernels = {
        "MALA 0.15": pmc.mala(logdensity, 0.15),
        "HMC 5 x 0.3": pmc.hmc(logdensity, 0.3, jnp.ones(dim), 5),
    }
    table = Table(
        "evaluations",
        {
            "kernel": "<12",
            "draws": "6,d",
            "method": "<24",
            "evaluations a draw": "6.2f",
            "difference": "10.1e",
            "left to the loop": "6d",
        },
    )
    run = jax.jit(lambda runner, kernel, state, keys: runner.run(kernel, state, keys))
    for name, kernel in kernels.items():
        for draws in options.draws:
            chains = []
            for seed in range(options.keys):
                first, key = jax.random.split(jax.random.key(seed))
                state = kernel.init(jax.random.normal(first, (dim,)))
                chains.append((state, jax.random.split(key, draws)))
            plain = [run(Sequential(), kernel, *chain) for chain in chains]
            unit = float(plain[0].stats.gradient_evaluations) / draws
            methods = {
                "Newton, window of 16": Parallel(None, AT_A_TIME),
                "the same, every state": Parallel(EVERY_STATE, AT_A_TIME),
                "Shooting, 16 lanes": InLanes(AT_A_TIME, draws),
            }
            for label, runner in methods.items():
                solved = [run(runner, kernel, *chain) for chain in chains]
                stats = [one.stats for one in solved]
                count = np.mean([float(s.gradient_evaluations) for s in stats]) / draws / unit
                pairs = zip(solved, plain, strict=True)
                gaps = [jnp.abs(a.states.position - b.states.position).max() for a, b in pairs]
                fallback = sum(int(s.fallback_steps) for s in stats)
                table.add(name, draws, label, count, float(max(gaps)), fallback)
    table.save(options)


if __name__ == "__main__":
    main()
