"""Time of a draw: ``sample(..., solver="auto")`` against BlackJAX's loop for the same chain.

    python benchmarks/auto.py [--only german] [--kernels HMC] [--chains 1] [--repeats 5] [--x32]

For every posterior, kernel and number of chains both are run in turn in one process, compiled and
warm; printed are the medians, their ratio (above 1: ours is faster), what was chosen, and the
largest difference of the positions. BlackJAX's side is `run_inference_algorithm` in one jit, mapped
over the chains, with the positions and acceptance rates as its history. Data are
arguments of neither side: both close over them.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.util import run_inference_algorithm
from german_credit import whitened_posterior
from posteriors import banana, eight_schools, mixture

import parallel_mcmc as pmc

KERNELS = ("MALA", "HMC")
LARGE = ("logistic 50,000 x 100", "linear 200,000 x 50")
"""Posteriors of the second target: at least twice as fast."""


class Problem(NamedTuple):
    """A posterior, in coordinates where its scale is about 1."""

    logdensity: Callable[[jax.Array], jax.Array]
    dim: int
    num_samples: int
    mala_step_size: float
    hmc_step_size: float
    num_integration_steps: int


def regression(rows: int, dim: int, logistic: bool, num_samples: int) -> Problem:
    """Return a regression on synthetic data, whitened by the Laplace covariance."""
    rng = np.random.default_rng(0)
    design = rng.standard_normal((rows, dim))
    design[:, 0] = 1
    truth = 0.3 * rng.standard_normal(dim)
    linear = design @ truth
    if logistic:
        outcome = rng.random(rows) < 1 / (1 + np.exp(-linear))
    else:
        outcome = linear + rng.standard_normal(rows)
    outcome = outcome.astype(float)
    mode = np.zeros(dim)
    for _ in range(8 if logistic else 1):
        mean = 1 / (1 + np.exp(-design @ mode)) if logistic else design @ mode
        weight = mean * (1 - mean) if logistic else np.ones(rows)
        precision = (design.T * weight) @ design + np.eye(dim)
        mode = mode + np.linalg.solve(precision, design.T @ (outcome - mean) - mode)
    X, y, mode = jnp.asarray(design), jnp.asarray(outcome), jnp.asarray(mode)
    factor = jnp.asarray(np.linalg.cholesky(np.linalg.inv(precision)))

    def logdensity(w):
        q = mode + factor @ w
        mean = X @ q
        if logistic:
            likelihood = jnp.sum(y * mean - jnp.logaddexp(0.0, mean))
        else:
            likelihood = -0.5 * jnp.sum((y - mean) ** 2)
        return likelihood - 0.5 * jnp.sum(q**2)

    return Problem(logdensity, dim, num_samples, 0.15, 0.3, 5)


def german_credit() -> Problem:
    """Return the German credit posterior."""
    logdensity, dim = whitened_posterior()
    return Problem(logdensity, dim, 4096, 0.3, 0.3, 5)


def schools() -> Problem:
    """Return the eight schools, non-centred."""
    return Problem(lambda q: eight_schools(5 * q[0], 1.5 * q[1], q[2:]), 10, 8192, 0.1, 0.25, 8)


def gaussian() -> Problem:
    """Return a normal distribution of 100 coordinates with correlation 0.9 between neighbours."""
    index = np.arange(100)
    covariance = 0.9 ** np.abs(index[:, None] - index)
    precision = jnp.asarray(np.linalg.inv(covariance))
    factor = jnp.asarray(np.linalg.cholesky(covariance))

    def logdensity(w):
        q = factor @ w
        return -0.5 * q @ (precision @ q)

    return Problem(logdensity, 100, 2048, 0.15, 0.3, 5)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "german credit": german_credit,
    "eight schools": schools,
    "banana": lambda: Problem(banana, 2, 8192, 0.2, 0.5, 8),
    "mixture": lambda: Problem(mixture, 2, 8192, 0.5, 0.5, 5),
    "gaussian 100-D": gaussian,
    LARGE[0]: lambda: regression(50_000, 100, True, 512),
    LARGE[1]: lambda: regression(200_000, 50, False, 512),
}


def theirs(algorithm: Any, start: jax.Array, keys: jax.Array, num_samples: int) -> Any:
    """Run BlackJAX's loop for every chain."""

    def keep(state, info):
        return state.position, info.acceptance_rate

    def chain(position, key):
        return run_inference_algorithm(
            key,
            algorithm,
            num_samples,
            initial_state=algorithm.init(position),
            transform=keep,
        )[1]

    return jax.vmap(chain)(start, keys)


def measure(problem: Problem, kind: str, chains: int, repeats: int) -> tuple:
    """Return both medians in seconds a draw, the choice, and the difference of the chains."""
    identity = jnp.ones(problem.dim)
    if kind == "MALA":
        kernel = pmc.mala(problem.logdensity, problem.mala_step_size)
        algorithm = blackjax.mala(problem.logdensity, problem.mala_step_size)
    else:
        settings = (problem.hmc_step_size, identity, problem.num_integration_steps)
        kernel = pmc.hmc(problem.logdensity, *settings)
        algorithm = blackjax.hmc(problem.logdensity, *settings)
    total = problem.num_samples
    start = jax.random.normal(jax.random.key(1), (chains, problem.dim))
    key = jax.random.key(2)
    keys = key[None] if chains == 1 else jax.random.split(key, chains)
    reference = jax.jit(lambda start, keys: theirs(algorithm, start, keys, total))

    def ours():
        where = start[0] if chains == 1 else start
        return pmc.sample(key, kernel, where, total, num_chains=chains, progress_bar=False)

    def blackjax_loop():
        return jax.block_until_ready(reference(start, keys))

    samples, expected = ours(), blackjax_loop()
    difference = float(np.max(np.abs(samples.position - np.asarray(expected[0]))))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, kept in zip((ours, blackjax_loop), times, strict=True):
            begin = time.perf_counter()
            run()
            kept.append(time.perf_counter() - begin)
    medians = [statistics.median(kept) / (total * chains) for kept in times]
    return *medians, samples.stats.choice, difference


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="posteriors whose name holds this")
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=KERNELS)
    parser.add_argument("--chains", nargs="+", type=int, default=(1, 4), help="numbers of chains")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--x32", action="store_true", help="single precision")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", not options.x32)
    print(
        f"jax {jax.__version__}, blackjax {blackjax.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, {jax.default_backend()}, "
        f"{'float32' if options.x32 else 'float64'}\n"
    )
    print(
        f"{'posterior':22} {'kernel':6} {'chains':>6} {'draws':>6} {'auto us':>9} "
        f"{'blackjax us':>11} {'ratio':>6} {'difference':>10}  choice"
    )
    for name, build in PROBLEMS.items():
        if options.only not in name:
            continue
        problem = build()
        for kind in options.kernels:
            for chains in options.chains:
                ours, loop, choice, difference = measure(problem, kind, chains, options.repeats)
                print(
                    f"{name:22} {kind:6} {chains:6} {problem.num_samples:6} {ours * 1e6:9.2f} "
                    f"{loop * 1e6:11.2f} {loop / ours:6.2f} {difference:10.1e}  {choice.solver}: "
                    f"{choice.reason}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
