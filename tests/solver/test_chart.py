"""Which part of a state the solver iterates on."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.chart import Euclidean

STATE = {
    "count": jnp.array(3),
    "matrix": jnp.array([[1.0, 2.0], [3.0, 4.0]], jnp.float32),
    "value": jnp.array(5.0, jnp.float32),
}


def test_coordinates_are_the_floating_point_leaves():
    np.testing.assert_array_equal(Euclidean().coordinates(STATE), [1, 2, 3, 4, 5])
    assert Euclidean().rest(STATE) == [STATE["count"]]


@pytest.mark.parametrize("method", ["place", "lift"])
def test_coordinates_are_put_back_in_their_places(method):
    placed = getattr(Euclidean(), method)(STATE, jnp.array([9.0, 8, 7, 6, 5.5]))
    np.testing.assert_array_equal(placed["matrix"], [[9, 8], [7, 6]])
    assert placed["value"] == 5.5 and placed["value"].dtype == jnp.float32
    assert placed["count"] is STATE["count"]


def test_is_immutable():
    chart = Euclidean()
    with pytest.raises(dataclasses.FrozenInstanceError):
        chart.extra = 1
    assert hash(chart) == hash(Euclidean())
