import warnings
from typing import NamedTuple

import numpy as np
import pytest

from parallel_mcmc.kernels.divergence import (
    DivergenceWarning,
    Failures,
    NonFiniteWarning,
    divergent,
)


class Info(NamedTuple):
    is_divergent: np.ndarray


class Nonans(NamedTuple):
    nonans: np.ndarray


class Both(NamedTuple):
    infos: tuple


FLAGS = np.array([[True, False, False], [False, False, True]])


def test_divergent_in_every_kind_of_info():
    np.testing.assert_array_equal(divergent(Info(FLAGS)), FLAGS)
    np.testing.assert_array_equal(divergent(Nonans(~FLAGS)), FLAGS)
    np.testing.assert_array_equal(divergent(Both((Info(FLAGS), Info(~FLAGS)))), np.ones((2, 3)))
    assert not divergent(()).any()


def test_counts_over_segments():
    failures = Failures()
    position = {"a": np.zeros((2, 3, 2)), "n": np.zeros((2, 3), int)}
    failures.add(position, Info(FLAGS))
    position["a"][1, 2, 0] = np.inf
    failures.add(position, Info(FLAGS))
    with pytest.warns((DivergenceWarning, NonFiniteWarning)) as caught:
        failures.warn()
    messages = [str(warning.message) for warning in caught]
    assert messages[0].startswith("4 of 12 transitions diverged (33.33%)")
    assert messages[1].startswith("1 of 12 draws are not finite")


def test_says_nothing_where_nothing_is_wrong():
    failures = Failures()
    failures.add(np.zeros((2, 3)), ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        failures.warn()
