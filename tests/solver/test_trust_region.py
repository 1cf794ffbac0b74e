import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.solver.operators import (
    BlockOperator,
    DenseOperator,
    DiagonalOperator,
    ZeroOperator,
)


def test_every_family_of_operators_has_a_smoother(x64):
    b = jnp.ones((5, 2))
    region = pmc.LevenbergMarquardt(0.5)
    diagonal = region.solve(DiagonalOperator(jnp.full((5, 1), 0.3)), b)
    dense = region.solve(DenseOperator(0.3 * jnp.broadcast_to(jnp.eye(2), (5, 2, 2))), b)
    np.testing.assert_allclose(diagonal, dense, atol=1e-12)
    blocks = jnp.broadcast_to(0.3 * jnp.eye(2)[:, :, None], (5, 2, 2, 1))
    np.testing.assert_allclose(region.solve(BlockOperator(blocks), b), dense, atol=1e-12)
    zero = region.solve(DiagonalOperator(jnp.zeros((5, 1))), b)
    np.testing.assert_allclose(zero, region.solve(ZeroOperator(5), b), atol=1e-12)


@pytest.mark.parametrize("weight", [0, -1.0, float("inf"), "1"])
def test_bad_weight(weight):
    with pytest.raises(ValueError, match="weight must be"):
        pmc.LevenbergMarquardt(weight)
