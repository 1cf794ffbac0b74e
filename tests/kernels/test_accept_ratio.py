"""Proposals and accept ratios against a computation with 50 digits.

The references are the textbook formulas in the coordinates of the position: with the densities of
the moves, a momentum of covariance ``M``, and no whitening. Every number that goes in is a double.
"""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from mpmath import mpf

import parallel_mcmc as pmc

DIM = 4
STEPS = 3
CASES = 20
ROUNDING = 10
"""Bound on the errors, in units of the rounding of 1 and of the sizes of the numbers."""
QUADRATIC = np.diag([2.0, 1.0, 0.5, 3.0]) + 0.25


def logdensity(q):
    """Return a normal log density with logistic factors: not Gaussian, and not symmetric."""
    return -0.5 * q @ jnp.asarray(QUADRATIC) @ q - jnp.sum(q + 2 * jax.nn.softplus(-q))


def exact_logdensity(q):
    quadratic = (q.T * mpmath.matrix(QUADRATIC.tolist()) * q)[0]
    return -quadratic / 2 - mpmath.fsum(x + 2 * mpmath.log(1 + mpmath.exp(-x)) for x in q)


def exact_gradient(q):
    logistic = [-1 + 2 / (1 + mpmath.exp(x)) for x in q]
    return mpmath.matrix(logistic) - mpmath.matrix(QUADRATIC.tolist()) * q


def norm(x, inverse):
    return (x.T * inverse * x)[0]


def exact_rmh(q, factor, step, draw):
    proposal = q + step * (factor * vector(draw.normal))
    return proposal, exact_logdensity(proposal) - exact_logdensity(q)


def exact_mala(q, factor, step, draw):
    covariance = factor * factor.T
    inverse = covariance**-1

    def mean(x):
        return x + step * (covariance * exact_gradient(x))

    def log_move(start, end):
        return -norm(end - mean(start), inverse) / (4 * step)

    proposal = mean(q) + mpmath.sqrt(2 * step) * (factor * vector(draw.normal))
    ratio = exact_logdensity(proposal) - exact_logdensity(q)
    return proposal, ratio + log_move(proposal, q) - log_move(q, proposal)


def exact_hmc(q, factor, step, draw):
    covariance = factor * factor.T
    # A momentum of covariance M, from the same normal numbers.
    start = momentum = (factor.T) ** -1 * vector(draw.normal)
    proposal = q
    for _ in range(STEPS):
        momentum = momentum + step / 2 * exact_gradient(proposal)
        proposal = proposal + step * (covariance * momentum)
        momentum = momentum + step / 2 * exact_gradient(proposal)
    kinetic = (norm(start, covariance) - norm(momentum, covariance)) / 2
    return proposal, exact_logdensity(proposal) - exact_logdensity(q) + kinetic


def exact_barker(q, factor, step, draw):
    def log_keep(x, jump):
        """Return the log probability of every sign of a jump, in whitened coordinates."""
        slope = factor.T * exact_gradient(x)
        return [-mpmath.log(1 + mpmath.exp(-g * b)) for g, b in zip(slope, jump, strict=True)]

    z = [step * x for x in vector(draw.normal)]
    signs = [mpmath.log(mpf(float(u))) for u in draw.signs]
    jump = [b if u < p else -b for b, u, p in zip(z, signs, log_keep(q, z), strict=True)]
    proposal = q + factor * mpmath.matrix(jump)
    back = [-b for b in jump]
    moves = mpmath.fsum(log_keep(proposal, back)) - mpmath.fsum(log_keep(q, jump))
    return proposal, exact_logdensity(proposal) - exact_logdensity(q) + moves


KERNELS = {
    "rmh": (pmc.rmh, exact_rmh),
    "mala": (pmc.mala, exact_mala),
    "barker": (pmc.barker, exact_barker),
    "hmc": (lambda *arguments: pmc.hmc(*arguments, STEPS), exact_hmc),
}


def vector(x):
    return mpmath.matrix([mpf(float(v)) for v in ravel_pytree(x)[0]])


@pytest.mark.slow
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("name", KERNELS)
def test_proposal_and_accept_ratio(x64, name, dense):
    make, exact = KERNELS[name]
    rng, signs = np.random.default_rng(0), set()

    @jax.jit
    def propose(kernel, position, key):
        target = kernel.target(position)
        draw = kernel.draw(key, position)
        candidate = kernel.propose(target.evaluate, target.enter(kernel.init(position)), draw)
        return draw, target.to_position(candidate.proposal.position), candidate

    for case in range(CASES):
        position = 2 * rng.normal(size=DIM)
        half = rng.normal(size=(DIM, DIM))
        metric = half @ half.T / DIM + 0.1 * np.eye(DIM) if dense else rng.uniform(0.1, 2.0, DIM)
        step = np.exp(rng.uniform(np.log(0.01), np.log(0.7)))
        kernel = make(logdensity, step, metric)
        draw, proposal, candidate = propose(kernel, jnp.asarray(position), jax.random.key(case))
        with mpmath.workdps(50):
            matrix = mpmath.matrix(metric.tolist()) if dense else mpmath.diag(metric.tolist())
            q = vector(position)
            expected, log_ratio = exact(q, mpmath.cholesky(matrix), mpf(float(step)), draw)
            error = float(mpmath.norm(vector(proposal) - expected, mpmath.inf))
            ratio_error = float(abs(mpf(float(candidate.log_ratio)) - log_ratio))
            energy = float(abs(exact_logdensity(q)) + abs(exact_logdensity(expected)))
        bound = ROUNDING * np.finfo(float).eps
        assert error < bound * (1 + np.abs(position).max())
        # An error of log α is a relative error of α.
        assert ratio_error < bound * (1 + energy)
        signs.add(log_ratio > 0)
    assert signs == {True, False}
