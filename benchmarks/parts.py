"""The small parts that everything is made of, by pytest-benchmark.

    python benchmarks/parts.py [--x32] [-- -k scan]

What follows ``--`` goes to pytest. Each part is compiled first; kept are its median and the
interquartile range, in microseconds.
"""

import json
import pathlib
import sys
import tempfile

import jax
import jax.numpy as jnp
import pytest
from harness import Table, parser_of, start
from posteriors import PROBLEMS

import parallel_mcmc as pmc
from parallel_mcmc.choice.measure import evaluate_batch, run_chain
from parallel_mcmc.kernels.chain import Parallel, Sequential
from parallel_mcmc.solver.operators import DenseOperator, DiagonalOperator

STEPS = 4096
WINDOW = 32


def warm(benchmark, run, *arguments):
    """Compile, then time."""
    jax.block_until_ready(run(*arguments))
    benchmark(lambda: jax.block_until_ready(run(*arguments)))


@pytest.fixture(scope="module")
def credit():
    """A kernel, its state, and keys."""
    problem = PROBLEMS["german credit"]()
    kernel = problem.kernel("HMC")
    state = kernel.init(jnp.zeros(problem.dim))
    return kernel, state, jax.random.split(jax.random.key(0), STEPS)


@pytest.mark.parametrize("dim", [2, 21, 100])
def test_diagonal_recurrence_of_4096_steps(benchmark, dim):
    factors = 0.9 * jax.random.uniform(jax.random.key(0), (STEPS, dim))
    b = jax.random.normal(jax.random.key(1), (STEPS, dim))
    warm(benchmark, jax.jit(lambda a, b: DiagonalOperator(a).scan(b)), factors, b)


@pytest.mark.parametrize("dim", [2, 21])
def test_dense_recurrence_of_4096_steps(benchmark, dim):
    matrices = 0.5 / dim**0.5 * jax.random.normal(jax.random.key(0), (STEPS, dim, dim))
    b = jax.random.normal(jax.random.key(1), (STEPS, dim))
    warm(benchmark, jax.jit(lambda a, b: DenseOperator(a).scan(b)), matrices, b)


def test_random_numbers_of_4096_steps(benchmark, credit):
    kernel, state, keys = credit
    bound = kernel.bind(state.position)
    warm(benchmark, jax.jit(lambda keys: jax.vmap(bound.draw)(keys)), keys)


@pytest.mark.parametrize("count", [1, WINDOW, STEPS])
def test_batch_of_hmc_steps(benchmark, credit, count):
    kernel, state, keys = credit
    warm(benchmark, evaluate_batch, kernel, state, keys[:count])


def test_hmc_steps_of_a_window_by_the_loop(benchmark, credit):
    kernel, state, keys = credit
    warm(benchmark, run_chain, Sequential(), kernel, state, keys[:WINDOW])


def test_hmc_steps_of_a_window_in_parallel(benchmark, credit):
    kernel, state, keys = credit
    warm(benchmark, run_chain, Parallel(None, WINDOW), kernel, state, keys[:WINDOW])


def test_call_of_sample_for_one_draw(benchmark):
    kernel = pmc.mala(lambda q: -0.5 * jnp.sum(q**2), 0.5)

    def run():
        return pmc.sample(jax.random.key(0), kernel, jnp.zeros(2), 1, progress_bar=False).position

    warm(benchmark, run)


def main():
    rest = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    sys.argv = sys.argv[: len(sys.argv) - len(rest) - ("--" in sys.argv)]
    options = start(parser_of(__doc__))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "parts.json"
        quiet = ["-q", "--benchmark-quiet", "-p", "no:cacheprovider", "-o", "addopts="]
        code = pytest.main([__file__, *quiet, f"--benchmark-json={path}", *rest])
        if code:
            sys.exit(code)
        found = json.loads(path.read_text())["benchmarks"]
    table = Table("parts", {"part": "<48", "median, µs": "10,.1f", "quartiles apart, µs": "10,.1f"})
    for part in found:
        name = part["name"].removeprefix("test_").replace("_", " ")
        table.add(name, part["stats"]["median"] * 1e6, part["stats"]["iqr"] * 1e6)
    table.save(options)


if __name__ == "__main__":
    main()
