"""Log densities over rows of data, with their gradients: as written, and as they are evaluated.

    python benchmarks/rows.py [--only logistic] [--batches 1 16] [--x32]

Times are those of a position in a batch of so many, all sides in turn in one process, compiled and
warm. At once, all rows are, with vectors as the first factors of products; the gain is what the way
that is taken, which is that or blocks of rows, has over the function as it is written.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from harness import Table, in_turn, parser_of, start
from posteriors import PROBLEMS

from parallel_mcmc.rows.arranged import all_rows_at_once, arranged
from parallel_mcmc.rows.cut import plan_of

LogDensity = Callable[[jax.Array], jax.Array]


def one_predictor(rng: np.random.Generator) -> tuple[LogDensity, int]:
    """Return a logistic regression of 1,000,000 rows on one predictor, and its dimension."""
    x = rng.standard_normal(1_000_000)
    y = jnp.asarray((rng.random(len(x)) < 1 / (1 + np.exp(-x))).astype(float))
    x = jnp.asarray(x)

    def logdensity(q):
        logits = q[0] + q[1] * x
        return jnp.sum(y * logits - jnp.logaddexp(0.0, logits))

    return logdensity, 2


def groups(rng: np.random.Generator) -> tuple[LogDensity, int]:
    """Return a linear regression of 300,000 rows in 50 groups, and its dimension."""
    predictors = jnp.asarray(rng.standard_normal((300_000, 4)))
    group = jnp.asarray(rng.integers(0, 50, len(predictors)))
    y = jnp.asarray(rng.standard_normal(len(predictors)))

    def logdensity(q):
        mean = q[4:][group] + predictors @ q[:4]
        return -0.5 * jnp.sum((y - mean) ** 2) - 0.5 * jnp.sum(q**2)

    return logdensity, 54


def robust(rng: np.random.Generator) -> tuple[LogDensity, int]:
    """Return a regression of 100,000 rows with Student's errors, and its dimension."""
    design = jnp.asarray(rng.standard_normal((100_000, 30)))
    y = jnp.asarray(rng.standard_t(4, len(design)))

    def logdensity(q):
        return -2.5 * jnp.sum(jnp.log1p((y - design @ q) ** 2 / 4)) - 0.5 * jnp.sum(q**2)

    return logdensity, 30


def cases() -> dict[str, Callable[[], tuple[LogDensity, int]]]:
    """Return what makes each log density, by its name."""

    def regression(name):
        problem = PROBLEMS[name]()
        return problem.logdensity, problem.dim

    regressions = [name for name in PROBLEMS if "000 x" in name or "german" in name]
    made = {name: lambda name=name: regression(name) for name in regressions}
    for build in (one_predictor, groups, robust):
        name = build.__name__.replace("_", " ")
        made[name] = lambda build=build: build(np.random.default_rng(0))
    return made


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", default=[""], help="log densities whose name has this")
    parser.add_argument("--batches", nargs="+", type=int, default=(1, 4, 16, 64))
    parser.add_argument("--repeats", type=int, default=11, help="runs that a median is taken of")
    options = start(parser)
    columns = {"log density": "<22", "rows": "9,d", "batch": "4d", "as written, µs": "8.1f"}
    columns |= {"at once, µs": "8.1f", "rows of a block": "6,d", "in blocks, µs": "8.1f"}
    table = Table("rows", columns | {"gain": "6.2f"})
    for name, build in cases().items():
        if not any(part in name for part in options.only):
            continue
        logdensity, dim = build()
        function = jax.value_and_grad(logdensity)
        plan = plan_of(jax.make_jaxpr(function)(jnp.zeros(dim)))
        for batch in options.batches:
            positions = 0.1 * jax.random.normal(jax.random.key(batch), (batch, dim))
            sides = {"written": jax.jit(jax.vmap(function)).lower(positions).compile()}
            with all_rows_at_once():
                sides["at once"] = jax.jit(jax.vmap(arranged(function))).lower(positions).compile()
            if plan.pays(batch):
                sides["blocks"] = jax.jit(jax.vmap(arranged(function))).lower(positions).compile()
            calls = {side: lambda f=f, q=positions: f(q) for side, f in sides.items()}
            times = in_turn(calls, options.repeats)
            written, *ways = (1e6 * times[side].median / batch for side in sides)
            in_blocks = (plan.block_rows(batch), ways[1]) if plan.pays(batch) else (None, None)
            table.add(name, plan.num_rows, batch, written, ways[0], *in_blocks, written / ways[-1])
    table.save(options)


if __name__ == "__main__":
    main()
