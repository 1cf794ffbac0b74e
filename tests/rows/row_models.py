"""Log densities over rows of data: those that are sums over rows, and those that are not."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp
from jax.scipy.stats import norm

ROWS = 203
WIDTH = 5
GROUPS = 7
DIM = WIDTH + GROUPS

_rng = np.random.default_rng(0)
DESIGN = _rng.normal(size=(ROWS, WIDTH))
OUTCOME = _rng.normal(size=ROWS)
BINARY = (OUTCOME > 0).astype(float)
COUNTS = _rng.poisson(2.0, ROWS)
GROUP = _rng.integers(0, GROUPS, ROWS)
OTHER = _rng.normal(size=(61, WIDTH))


def prior(q):
    return jnp.sum(norm.logpdf(q))


def logistic(q):
    logits = jnp.asarray(DESIGN) @ q[:WIDTH]
    return prior(q) + jnp.sum(jnp.asarray(BINARY) * logits - jnp.logaddexp(0.0, logits))


def linear(q):
    mean = jnp.asarray(DESIGN) @ q[:WIDTH]
    scale = jnp.exp(q[WIDTH])
    return jnp.sum(norm.logpdf(jnp.asarray(OUTCOME), mean, scale)) + prior(q)


def transposed(q):
    return -0.5 * jnp.sum((jnp.asarray(OUTCOME) - q[:WIDTH] @ jnp.asarray(DESIGN.T)) ** 2)


def hierarchical(q):
    mean = jnp.asarray(DESIGN) @ q[:WIDTH] + q[WIDTH:][jnp.asarray(GROUP)]
    return -0.5 * jnp.sum((jnp.asarray(OUTCOME) - mean) ** 2) + prior(q)


def of_groups_by_a_table(q):
    table = q[:GROUPS, None] * q[None, :WIDTH]
    mean = jnp.sum(jnp.asarray(DESIGN) * table[jnp.asarray(GROUP)], axis=1)
    return -0.5 * jnp.sum((jnp.asarray(OUTCOME) - mean) ** 2) + prior(q)


def poisson(q):
    rate = jnp.exp(0.1 * jnp.asarray(DESIGN) @ q[:WIDTH])
    counts = jnp.asarray(COUNTS)
    return jnp.sum(counts * jnp.log(rate) - rate - gammaln(counts + 1)) + prior(q)


def student(q):
    error = jnp.asarray(OUTCOME)[:, None] - jnp.asarray(DESIGN) @ q[:WIDTH, None]
    return jnp.mean(-2.5 * jnp.log1p(error**2 / 4)) + prior(q)


def mixture(q):
    parts = norm.logpdf(jnp.asarray(OUTCOME)[:, None], q[None, :3], jnp.exp(q[None, 3:6]))
    return jnp.sum(logsumexp(parts + jax.nn.log_softmax(q[6:9]), axis=-1)) + prior(q)


def products(q):
    mean = jnp.asarray(DESIGN) @ q[:WIDTH]
    squares = jnp.einsum("ni,ni->n", jnp.asarray(DESIGN), mean[:, None] * jnp.asarray(DESIGN))
    return jnp.vdot(jnp.asarray(OUTCOME), mean) - 0.5 * jnp.vdot(mean, mean) - jnp.sum(squares**2)


def columns(q):
    ones = jnp.ones((ROWS, 1))
    data = jnp.concatenate([ones, jnp.asarray(DESIGN)[:, 1:4]], axis=1)
    mean = (data @ q[:4, None]).reshape(-1)
    centred = jnp.asarray(DESIGN) - jnp.mean(jnp.asarray(DESIGN), axis=0)
    return -jnp.sum((mean - centred @ q[:WIDTH]) ** 2) + prior(q)


def along_each_row(q):
    path = jnp.cumsum(jnp.asarray(DESIGN) * q[:WIDTH], axis=1)
    return -jnp.sum(jnp.max(path, axis=1) ** 2) - jnp.sum(jnp.sort(path, axis=1)[:, 0] ** 2)


def softmax(q):
    logits = jnp.asarray(DESIGN)[:, :4] @ q.reshape(4, 3)
    label = jnp.asarray(GROUP % 3)[:, None]
    return jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(logits), label, axis=1)) + prior(q)


def of_two_tables(q):
    return logistic(q) - jnp.sum((jnp.asarray(OTHER) @ q[:WIDTH]) ** 2)


@jax.jit
def within_jit(q):
    return logistic(q)


def scattered(q):
    means = jnp.zeros(GROUPS).at[jnp.asarray(GROUP)].add(jnp.asarray(DESIGN) @ q[:WIDTH])
    return -jnp.sum((means / ROWS - q[:GROUPS]) ** 2)


SUMS = [
    logistic,
    linear,
    transposed,
    hierarchical,
    of_groups_by_a_table,
    poisson,
    student,
    mixture,
    products,
    columns,
    along_each_row,
    softmax,
    of_two_tables,
    within_jit,
]
"""Sums over rows, and so are their gradients."""


def cumulative(q):
    return jnp.sum(jnp.cumsum(jnp.asarray(DESIGN) @ q[:WIDTH]) ** 2)


def largest(q):
    return -jnp.max(jnp.asarray(DESIGN) @ q[:WIDTH])


def ordered(q):
    return jnp.sum(jnp.sort(jnp.asarray(DESIGN) @ q[:WIDTH])[:3])


def standardised(q):
    mean = jnp.asarray(DESIGN) @ q[:WIDTH]
    return -jnp.sum((mean / jnp.sum(mean**2)) ** 4)


def gaussian_process(q):
    distance = jnp.asarray(OUTCOME)[:, None] - jnp.asarray(OUTCOME)
    covariance = jnp.exp(-((distance / jnp.exp(q[0])) ** 2)) + jnp.eye(ROWS)
    factor = jnp.linalg.cholesky(covariance)
    return -jnp.sum(jax.scipy.linalg.solve_triangular(factor, jnp.asarray(BINARY), lower=True) ** 2)


def neighbours(q):
    mean = jnp.asarray(DESIGN) @ q[:WIDTH]
    return -jnp.sum((mean[1:] - mean[:-1]) ** 2)


def reversed_rows(q):
    mean = jnp.asarray(DESIGN) @ q[:WIDTH]
    return -jnp.sum((mean[::-1] - jnp.asarray(OUTCOME)) ** 2)


def recursive(q):
    def step(x, y):
        x = 0.5 * x + q[0] * y
        return x, x

    return -jnp.sum(jax.lax.scan(step, 0.0, jnp.asarray(OUTCOME))[1] ** 2)


MIXED = [
    cumulative,
    largest,
    ordered,
    standardised,
    gaussian_process,
    neighbours,
    reversed_rows,
    recursive,
]
"""Rows depend on one another."""
