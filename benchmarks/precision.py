"""Single against double precision: where an accept decision flips, why, and what it costs.

    python benchmarks/precision.py [--only german] [--draws 2048] [--save]

Logistic regressions, whitened, on 1,000 rows (German credit) and on 100,000. The random numbers are
drawn in double precision and rounded, so that all chains share them. The log density has several
sums of its terms, one a row of data:

- plain: ``jnp.sum`` in single precision;
- compensated: in a tree, with the rounding error of every addition added up as well;
- float64: terms in single precision, their sum in double;
- centred: of the terms less those at the mode, so that it is small, and its rounding with it;
- centred, float64: both.

"log density noise" has the standard deviation, over draws of the posterior, of what the single
precision adds to the log density, evaluated one by one and in a batch, and of the difference of the
two; for the plain sum also by JAX's precision of matrix products, which changes nothing on a CPU.

"precision" has the decisions that differ: of the loop in single from that in double precision; and,
at the same states, of a batch of steps from one step at a time, both in single precision. A flip is
explained where its margin, ``|log α - log u|``, is no more than a few times the noise. Its cost is
the largest difference of the posterior means, of the parallel solve from the loop in single
precision and of that from the loop in double, in Monte Carlo standard errors.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from harness import Table, in_turn, parser_of, start

import parallel_mcmc as pmc
from parallel_mcmc._tree import preceding
from parallel_mcmc.data import load_german_credit
from parallel_mcmc.kernels.base import BoundKernel
from parallel_mcmc.solver.defaults import default_max_iterations, default_tolerance
from parallel_mcmc.solver.plain_loop import run_sequentially
from parallel_mcmc.solver.system import solve_recurrence

SETTINGS = ("default", "tensorfloat32", "highest")
"""Precision of matrix products; the second is one of those that a GPU has units for."""
BATCH = 256
"""Steps that are evaluated together: the window of the parallel solve."""


class Data(NamedTuple):
    """A logistic regression in double precision, with the Laplace approximation that whitens it."""

    design: np.ndarray
    outcome: np.ndarray
    sd: np.ndarray
    """Of the prior."""
    mode: np.ndarray
    factor: np.ndarray
    """Cholesky factor of the covariance at the mode."""


def whitened(design: np.ndarray, outcome: np.ndarray, sd: np.ndarray) -> Data:
    """Find the mode by Newton's method."""
    mode = np.zeros(design.shape[1])
    for _ in range(20):
        mean = 1 / (1 + np.exp(-design @ mode))
        hessian = (design.T * (mean * (1 - mean))) @ design + np.diag(sd**-2.0)
        mode = mode + np.linalg.solve(hessian, design.T @ (outcome - mean) - mode / sd**2)
    return Data(design, outcome, sd, mode, np.linalg.cholesky(np.linalg.inv(hessian)))


def german_credit() -> Data:
    """Return the German credit regression: 1,000 rows, 21 coefficients."""
    credit = load_german_credit()
    design = np.column_stack([np.ones(len(credit.y)), credit.X])
    return whitened(design, np.asarray(credit.y, float), np.array([2.5] + [1.0] * 20))


def many_rows() -> Data:
    """Return a regression on 100,000 synthetic rows, with 10 coefficients."""
    rng = np.random.default_rng(0)
    design = rng.standard_normal((100_000, 10))
    design[:, 0] = 1
    chance = 1 / (1 + np.exp(-design @ (0.3 * rng.standard_normal(10))))
    return whitened(design, (rng.random(len(design)) < chance).astype(float), np.ones(10))


# With the draws of their chains.
POSTERIORS = {"german credit": (german_credit, 16_384), "100,000 x 10": (many_rows, 2048)}


def compensated(terms: jax.Array) -> jax.Array:
    """Sum in a tree, and the errors of its additions too (Knuth's two-sum)."""
    high, low = terms, jnp.zeros_like(terms)
    while len(high) > 1:
        if len(high) % 2:
            high, low = (jnp.append(x, jnp.zeros((), x.dtype)) for x in (high, low))
        a, b = high[::2], high[1::2]
        high = a + b
        back = high - a
        low = low[::2] + low[1::2] + ((a - (high - back)) + (b - back))
    exact = jax.lax.stop_gradient(high[0] + low[0])
    # Its derivative is that of any sum.
    plain = jnp.sum(terms)
    return plain + (exact - jax.lax.stop_gradient(plain))


def in_double(terms: jax.Array) -> jax.Array:
    """Sum in double precision."""
    return jnp.sum(terms.astype(jnp.float64)).astype(terms.dtype)


class Sum(NamedTuple):
    """How the terms of the likelihood are added up."""

    add: Callable[[jax.Array], jax.Array]
    centred: bool


SUMS = {
    "plain": Sum(jnp.sum, False),
    "compensated": Sum(compensated, False),
    "float64": Sum(in_double, False),
    "centred": Sum(jnp.sum, True),
    "centred, float64": Sum(in_double, True),
}


def logdensity_of(data: Data, way: Sum, dtype: Any) -> Callable[[jax.Array], jax.Array]:
    """Return the log density of whitened positions, all of it in one precision."""
    design, outcome, sd, mode, factor = (jnp.asarray(x, dtype) for x in data)
    logits = data.design @ data.mode
    at_mode = jnp.asarray(data.outcome * logits - np.logaddexp(0, logits), dtype)

    def logdensity(w: jax.Array) -> jax.Array:
        q = mode + factor @ w
        logits = design @ q
        terms = outcome * logits - jnp.logaddexp(0, logits)
        if way.centred:
            terms = terms - at_mode
        return way.add(terms) - 0.5 * jnp.sum((q / sd) ** 2)

    return logdensity


def bound_of(kind: str, logdensity: Callable, dim: int, dtype: Any) -> tuple[BoundKernel, Any]:
    """Return a kernel and the state that its chain starts from, at the mode."""
    if kind == "MALA":
        kernel = pmc.mala(logdensity, 0.3)
    else:
        kernel = pmc.hmc(logdensity, 0.3, jnp.ones(dim, dtype), 5)
    state = kernel.init(jnp.zeros(dim, dtype))
    bound = kernel.bind(state.position)
    return bound, bound.enter(state)


@jax.jit
def looped(recurrence: Any, state: Any, draws: Any) -> Any:
    """Return states and records of the loop."""
    return run_sequentially(recurrence, state, draws)


@jax.jit
def batched(recurrence: Any, state: Any, states: Any, draws: Any) -> Any:
    """Return the records of the same steps, evaluated in batches."""
    pairs = preceding(state, states), draws
    return jax.lax.map(lambda pair: recurrence.step(*pair)[1], pairs, batch_size=BATCH)


def solved(bound: BoundKernel, state: Any, draws: Any) -> Any:
    """Return the states by the parallel solver."""
    dtype, total = state.position.dtype, len(draws.uniform)
    window = min(BATCH, total)

    @jax.jit
    def run(state, draws):
        return solve_recurrence(
            bound.recurrence,
            bound.method,
            state,
            draws,
            window=window,
            max_iterations=default_max_iterations(total, window),
            tolerance=default_tolerance(dtype),
            scale=bound.solver_scale(dtype),
        )[0].states

    return run(state, draws)


def standard_errors(a: jax.Array, b: jax.Array) -> float:
    """Return the largest difference of two means, in standard errors by means of batches."""
    means = np.array_split(np.asarray(b, float), 32)
    error = np.std([part.mean(axis=0) for part in means], axis=0, ddof=1) / np.sqrt(32)
    return float(np.max(np.abs(np.mean(np.asarray(a, float) - np.asarray(b, float), 0)) / error))


class Noise(NamedTuple):
    """Standard deviations of what single precision adds to the log density."""

    single: float
    batch: float
    between: float
    """Of the difference of the two."""
    size: float
    """Of the log density: its mean absolute value."""


def noise_of(single: Callable, double: Callable, positions: jax.Array) -> Noise:
    """Return the noise of a log density at positions in single precision."""
    exact = jax.jit(partial(jax.lax.map, double))(positions.astype(jnp.float64))
    one = jax.jit(partial(jax.lax.map, single))(positions).astype(jnp.float64)
    many = jax.jit(partial(jax.lax.map, single, batch_size=BATCH))(positions)
    many = many.astype(jnp.float64)
    gaps = one - exact, many - exact, one - many
    return Noise(*(float(jnp.std(gap)) for gap in gaps), float(jnp.mean(jnp.abs(one))))


def report_noise(
    name: str, data: Data, positions: jax.Array, table: Table, repeats: int
) -> dict[str, float]:
    """Fill the table of the noise; return that of every sum."""
    functions = {way: logdensity_of(data, SUMS[way], jnp.float32) for way in SUMS}
    some = positions[:BATCH]
    sides = {
        way: partial(jax.jit(jax.vmap(jax.value_and_grad(run))), some)
        for way, run in functions.items()
    }
    times = in_turn(sides, repeats)
    found = {}
    for way, run in functions.items():
        for setting in SETTINGS if way == "plain" else SETTINGS[:1]:
            # The reference is centred, as is right for the sum that is: a constant is no noise.
            double = logdensity_of(data, SUMS[way], jnp.float64)
            with jax.default_matmul_precision(setting):
                noise = noise_of(run, double, positions)
            found.setdefault(way, noise.single)
            cost = times[way].median / times["plain"].median
            unit = float(np.spacing(np.float32(noise.size)))
            table.add(name, way, setting, noise.size, unit, *noise[:3], cost)
    return found


def report_flips(
    name: str, data: Data, kind: str, length: int, noise: dict[str, float], table: Table
) -> None:
    """Fill the table of the decisions that differ."""
    dim = len(data.mode)
    double, first = bound_of(kind, logdensity_of(data, SUMS["plain"], jnp.float64), dim, float)
    draws = jax.vmap(double.draw)(jax.random.split(jax.random.key(3), length))
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), draws)
    exact, truth = looped(double.recurrence, first, draws)
    for way in noise:
        logdensity = logdensity_of(data, SUMS[way], jnp.float32)
        bound, state = bound_of(kind, logdensity, dim, jnp.float32)
        states, info = looped(bound.recurrence, state, rounded)
        parted = np.flatnonzero(info.is_accepted != truth.is_accepted)
        again = batched(bound.recurrence, state, states, rounded)
        flipped = np.flatnonzero(info.is_accepted != again.is_accepted)
        parallel = solved(bound, state, rounded)
        table.add(
            name,
            kind,
            way,
            length,
            noise[way],
            len(parted),
            int(parted[0]) + 1 if len(parted) else None,
            float(truth.accept_margin[parted[0]]) if len(parted) else None,
            len(flipped),
            float(jnp.max(info.accept_margin[flipped])) if len(flipped) else None,
            standard_errors(parallel.position, states.position),
            standard_errors(states.position, exact.position),
        )


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", default=[""], help="posteriors whose name holds this")
    parser.add_argument("--kernels", nargs="+", choices=("MALA", "HMC"), default=("MALA", "HMC"))
    parser.add_argument("--draws", type=int, help="draws of a chain, at most")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each sum")
    options = start(parser)
    if options.x32:
        parser.error("--x32 is not for this program: it compares both precisions")
    names = {"posterior": "<13"}
    noises = Table(
        "log density noise",
        names
        | {
            "sum": "<16",
            "matrix products": "<15",
            "log density": "11,.1f",
            "its spacing": "11.1e",
            "noise, single": "13.1e",
            "noise, batch": "12.1e",
            "between": "9.1e",
            "time over plain": "15.2f",
        },
    )
    noise = {}
    chosen = [name for name in POSTERIORS if any(part in name for part in options.only)]
    for name in chosen:
        data = POSTERIORS[name][0]()
        # The posterior in whitened coordinates, but for what the Laplace approximation misses.
        shape = 1024, len(data.mode)
        positions = jax.random.normal(jax.random.key(1), shape, jnp.float32)
        noise[name] = report_noise(name, data, positions, noises, options.repeats)
    noises.save(options)
    flips = Table(
        "precision",
        names
        | {
            "kernel": "<6",
            "sum": "<16",
            "draws": "6,d",
            "noise": "7.1e",
            "differ from float64": "19d",
            "first": "6,d",
            "its margin": "10.1e",
            "batch differs": "13d",
            "largest margin": "14.1e",
            "means, parallel": "15.3f",
            "means, double": "14.3f",
        },
    )
    for name in chosen:
        build, length = POSTERIORS[name]
        data = build()
        for kind in options.kernels:
            report_flips(name, data, kind, min(length, options.draws or length), noise[name], flips)
    flips.save(options)


if __name__ == "__main__":
    main()
