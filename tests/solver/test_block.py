import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.solver.operators import BlockOperator
from parallel_mcmc.solver.scans import block_scan

T, D = 7, 3


def blocks(shared=False):
    rng = np.random.default_rng(0)
    return rng.normal(size=(T, 2, 2, 1 if shared else D)) / 2, rng.normal(size=(T, 2 * D))


def matrices(a):
    full = np.broadcast_to(a, (T, 2, 2, D))
    out = np.zeros((T, 2, D, 2, D))
    for i in range(D):
        out[:, :, i, :, i] = full[..., i]
    return out.reshape(T, 2 * D, 2 * D)


@pytest.mark.parametrize("shared", [False, True])
def test_operator_is_the_matrix(x64, shared):
    a, v = blocks(shared)
    operator, full = BlockOperator(jnp.asarray(a)), matrices(a)
    np.testing.assert_allclose(operator.apply(jnp.asarray(v)), np.einsum("tij,tj->ti", full, v))
    np.testing.assert_allclose(operator.norm(), np.linalg.norm(full, 2, axis=(1, 2)))
    factor = np.array([0.0, 1, 2, 3, 4, 5, 6])
    scaled = operator.scaled(jnp.asarray(factor))
    np.testing.assert_allclose(scaled.apply(v), factor[:, None] * operator.apply(v))
    scale = np.arange(1.0, 2 * D + 1)
    rescaled = operator.rescaled(jnp.asarray(scale)).apply(v)
    np.testing.assert_allclose(rescaled, operator.apply(v * scale) / scale)
    z, expected = np.zeros(2 * D), []
    for t in range(T):
        z = full[t] @ z + v[t]
        expected.append(z)
    np.testing.assert_allclose(operator.scan(jnp.asarray(v)), np.stack(expected))
    np.testing.assert_allclose(
        block_scan(jnp.asarray(a), v.reshape(T, 2, D)).reshape(T, -1), np.stack(expected)
    )


def pendulum(state, force):
    x, p = state
    p = p - 0.1 * jnp.sin(x) + 0.01 * force
    return x + 0.1 * p, p


@pytest.mark.slow
def test_hutchinson_is_exact_for_uncoupled_pairs(x64):
    force = jax.random.normal(jax.random.key(0), (100, D))
    start = (jnp.ones(D), jnp.zeros(D))
    solution = pmc.solve(pendulum, start, force, method=pmc.Newton(pmc.BlockDiagonal()))
    dense = pmc.solve(pendulum, start, force, method=pmc.Newton(pmc.Dense()))
    assert solution.converged
    # The blocks are the whole Jacobian here, though the loop does not know.
    assert int(solution.iterations) <= int(dense.iterations) + 2
    for ours, theirs in zip(solution.states, dense.states, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_bad_arguments():
    with pytest.raises(ValueError, match="probes must be a positive integer"):
        pmc.BlockDiagonal(0)
    with pytest.raises(ValueError, match="needs an analytic Jacobian"):
        pmc.solve(
            pendulum, (jnp.ones(2), jnp.ones(2)), jnp.ones(3), method=pmc.Newton(pmc.Surrogate())
        )
