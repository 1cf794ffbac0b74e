"""Newton iterations of BlackJAX's algorithms: 500 steps in one window.

    python benchmarks/blackjax_algorithms.py [--keys 3] [--steps 500]

Every algorithm samples a correlated Gaussian of 10 dimensions (correlation 0.5 between
neighbours) in float64, from zero, with no metric, by BlackJAX's own loop and by
`parallel_mcmc.blackjax.run_inference_algorithm`. For each key it prints the iterations and the
steps that the sequential loop had to finish; and over all keys the largest difference of the
positions, and of the infos: absolute, or the number of steps where a flag or a count differs.
Counts do not depend on the machine.
"""

import argparse
import platform

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.blackjax.inference import run_algorithm

DIM = 10
COVARIANCE = 0.5 ** np.abs(np.subtract.outer(np.arange(DIM), np.arange(DIM)))
PRECISION = np.linalg.inv(COVARIANCE)


def logdensity(x):
    return -0.5 * x @ jnp.asarray(PRECISION, x.dtype) @ x


def loglikelihood(x):
    """The likelihood of elliptical slice sampling, whose prior is the Gaussian."""
    return -0.5 * jnp.sum((x - 1.0) ** 2)


def propose(key, x):
    return x + 0.3 * jax.random.normal(key, x.shape, x.dtype)


def algorithms():
    """Return the algorithms by name."""
    ones = jnp.ones(DIM)
    step = blackjax.mcmc.random_walk.normal(0.3 * ones)
    covariance = jnp.asarray(COVARIANCE)
    return {
        "mala": blackjax.mala(logdensity, 0.15),
        "hmc": blackjax.hmc(logdensity, 0.3, ones, 5),
        "nuts": blackjax.nuts(logdensity, 0.5, ones),
        "dynamic_hmc": blackjax.dynamic_hmc(logdensity, 0.3, ones),
        "mclmc": blackjax.mclmc(logdensity, L=1.5, step_size=0.5),
        "adjusted_mclmc": blackjax.adjusted_mclmc(
            logdensity, step_size=0.5, num_integration_steps=4
        ),
        "elliptical_slice": blackjax.elliptical_slice(
            loglikelihood, mean=jnp.zeros(DIM), cov=covariance
        ),
        "rmh": blackjax.rmh(logdensity, propose),
        "additive_step_random_walk": blackjax.additive_step_random_walk(logdensity, step),
        "barker": blackjax.barker_proposal(logdensity, 0.4),
        "ghmc": blackjax.ghmc(logdensity, 0.3, ones, 0.8, 1.3),
    }


def difference(ours, theirs):
    """Return the largest difference of two pytrees of numbers, flags and counts."""
    gaps = [
        jnp.abs(a - b).max() if jnp.issubdtype(a.dtype, jnp.floating) else jnp.sum(a != b)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    ]
    # Not Python's maximum, which may drop what is not a number.
    return float(np.max([float(gap) for gap in gaps]))


def compare(algorithm, key, steps, solver="parallel"):
    """Run an algorithm both ways; return our run and the differences of positions and infos."""
    start = jnp.zeros(DIM)
    _, (states, infos) = blackjax.util.run_inference_algorithm(
        key, algorithm, steps, initial_position=start
    )
    run = run_algorithm(key, algorithm, steps, initial_position=start, solver=solver, window=steps)
    our_states, our_infos = run.history
    return (
        run,
        difference(our_states.position, states.position),
        difference(our_infos, infos),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=3, help="chains, each with its own key")
    parser.add_argument("--steps", type=int, default=500, help="steps of a chain, one window")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(
        f"jax {jax.__version__}, blackjax {blackjax.__version__}, parallel_mcmc "
        f"{pmc.__version__}, Python {platform.python_version()}, {jax.default_backend()}"
    )
    print(f"{options.steps} steps, one window, {options.keys} keys\n")
    print("| algorithm | iterations | finished by the loop | positions differ | infos differ |")
    print("| --- | --- | --- | --- | --- |")
    for name, algorithm in algorithms().items():
        runs = [
            compare(algorithm, jax.random.key(seed), options.steps) for seed in range(options.keys)
        ]
        iterations = ", ".join(str(int(run.iterations)) for run, *_ in runs)
        finished = ", ".join(str(int(run.fallback_steps)) for run, *_ in runs)
        positions, infos = (np.max([run[i] for run in runs]) for i in (1, 2))
        print(
            f"| `{name}` | {iterations} | {finished} | {positions:.0e} | {infos:.0e} |", flush=True
        )


if __name__ == "__main__":
    main()
