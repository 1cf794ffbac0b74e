"""Geweke's joint-distribution test of every adjusted kernel, and of kernels with an error."""

from functools import partial

import jax
import numpy as np
import pytest

from validation import kernels
from validation.joint import LEVEL, z_scores
from validation.models import NORMAL
from validation.statistic import normal_threshold

pytestmark = pytest.mark.slow


def excess(build):
    """Return the largest z-score in units of the threshold, which is fixed beforehand."""
    scores = z_scores(jax.random.key(0), NORMAL, build)
    return np.abs(scores).max() / normal_threshold(LEVEL, len(scores))


@pytest.mark.parametrize("name", kernels.NORMAL_KERNELS)
def test_joint_distribution(x64, name):
    assert excess(partial(kernels.NORMAL_KERNELS[name], NORMAL)) < 1


@pytest.mark.parametrize("fault", kernels.FAULTS)
def test_faults_are_found(x64, fault):
    assert excess(kernels.FAULTS[fault]) > 1
