import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.kernels.base import DensityState
from parallel_mcmc.kernels.chain import Chain, ChainStats
from parallel_mcmc.store.layout import layout

STATES = DensityState({"a": jnp.ones((2, 4, 3)), "b/c": jnp.ones((2, 4))}, jnp.zeros((2, 4)))
SEGMENT = Chain(STATES, {"rate": jnp.zeros((2, 4))}, ChainStats(*[jnp.zeros(2)] * 5))
PLAN = layout(SEGMENT, num_samples=10)


def test_names_and_dimensions():
    found = {name: (spec.shape, spec.dims) for name, spec in PLAN.specs.items()}
    assert found["posterior/a"] == ((2, 10, 3), ("chain", "draw", "a_dim_0"))
    assert found["posterior/b.c"] == ((2, 10), ("chain", "draw"))
    assert found["logdensity"] == ((2, 10), ("chain", "draw"))
    assert found["info/rate"] == ((2, 10), ("chain", "draw"))
    assert found["stats/iterations"] == ((3, 2), ("segment", "chain"))
    assert found["state/position.a"] == ((4, 2, 3), ("segment", "chain", "position.a_dim_0"))


def test_every_leaf_has_its_array():
    segment = PLAN.of_segment(jax.tree.map(np.asarray, SEGMENT))
    assert set(segment) | set(PLAN.of_state(SEGMENT.states)) == set(PLAN.specs)
    np.testing.assert_array_equal(segment["posterior/a"], STATES.position["a"])
    assert segment["stats/residual"].shape == (1, 2)
    assert PLAN.draws.position["a"] == "posterior/a"


def test_names_are_unique():
    info = {"a": {"b": jnp.zeros((2, 4))}, "a.b": jnp.zeros((2, 4))}
    with pytest.raises(ValueError, match="name of its own for every array, got 'info/a.b' twice"):
        layout(SEGMENT._replace(info=info), num_samples=10)
