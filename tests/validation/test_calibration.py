"""Simulation-based calibration of every adjusted kernel, and of kernels with an error in them."""

from functools import partial

import jax
import numpy as np
import pytest

from parallel_mcmc.kernels.chain import Parallel
from validation import kernels
from validation.calibration import DRAWS, ranks
from validation.models import LOGISTIC, MODELS, NORMAL
from validation.statistic import uniformity

LEVEL = 1e-3
"""Probability that a correct kernel fails, all quantities of a test together."""
BINS = 20
# Transitions to a draw, for draws that are nearly independent.
KERNELS = {"mala": (kernels.mala, 30), "hmc": (kernels.hmc, 5)}
# The same for the other kernels, on the normal model with a metric that does not fit.
NORMAL_THINNING = {
    "rmh": 80,
    "barker": 60,
    "jittered hmc": 20,
    "adjusted mclmc": 20,
    "gibbs": 20,
    "cycle": 10,
}

pytestmark = pytest.mark.slow


def smallest(ranks):
    """Return the smallest p-value, corrected for the number of quantities (Bonferroni)."""
    values = uniformity(ranks, DRAWS, BINS)
    return values.min() * len(values)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", KERNELS)
def test_ranks_are_uniform(x64, model, name):
    build, thinning = KERNELS[name]
    model = MODELS[model]
    found = ranks(jax.random.key(0), model, partial(build, model), thinning=thinning)
    assert smallest(found) > LEVEL


def test_every_adjusted_kernel_is_here():
    assert KERNELS.keys() | NORMAL_THINNING.keys() == kernels.NORMAL_KERNELS.keys()


@pytest.mark.parametrize("name", NORMAL_THINNING)
def test_ranks_of_the_other_kernels_are_uniform(x64, name):
    build = partial(kernels.NORMAL_KERNELS[name], NORMAL)
    found = ranks(jax.random.key(3), NORMAL, build, thinning=NORMAL_THINNING[name])
    assert smallest(found) > LEVEL


def test_ranks_are_uniform_when_solved_in_parallel(x64):
    build = partial(kernels.hmc, LOGISTIC)
    arguments = jax.random.key(1), LOGISTIC, build
    found = ranks(*arguments, thinning=2, runner=Parallel(None, 32))
    assert smallest(found) > LEVEL
    # The same draws, and so the same ranks but where rounding decides.
    assert np.mean(found != ranks(*arguments, thinning=2)) < 1e-3


@pytest.mark.parametrize("fault", kernels.FAULTS)
def test_faults_are_found(x64, fault):
    found = ranks(jax.random.key(2), NORMAL, kernels.FAULTS[fault], thinning=10)
    assert smallest(found) < LEVEL
