"""Recurrences that are no samplers: a recurrent network, a diffusion, chaos."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solver_reference import loop

import parallel_mcmc as pmc


def gru(weights, hidden, value):
    """A gated recurrent unit (Cho et al., 2014)."""
    joined = jnp.concatenate([hidden, value])
    reset, update = jax.nn.sigmoid(weights["gates"] @ joined).reshape(2, -1)
    proposal = jnp.tanh(weights["proposal"] @ jnp.concatenate([reset * hidden, value]))
    return (1 - update) * hidden + update * proposal


@pytest.mark.parametrize(
    "method",
    [
        pmc.deer(),
        *(pytest.param(m, marks=pytest.mark.slow) for m in (pmc.quasi_deer(), pmc.elk(0.1))),
    ],
)
def test_gru_with_random_weights(x64, method):
    hidden, width = 6, 3
    rng = np.random.default_rng(0)
    size = hidden + width
    weights = {
        "gates": jnp.asarray(rng.normal(size=(2 * hidden, size)) / np.sqrt(size)),
        "proposal": jnp.asarray(rng.normal(size=(hidden, size)) / np.sqrt(size)),
    }
    inputs = jnp.asarray(rng.normal(size=(2000, width)))
    step = jax.tree_util.Partial(gru, weights)
    solution = pmc.solve(step, jnp.zeros(hidden), inputs, method=method, window=2000)
    assert solution.converged and solution.fallback_steps == 0
    np.testing.assert_allclose(solution.states, loop(step, jnp.zeros(hidden), inputs), atol=1e-7)


def two_wells(x, noise):
    """Euler-Maruyama on the mixture of two Gaussians of arXiv 2508.16817, section 6."""
    means, variances = jnp.array([[-1.4, 0], [1.6, 0]]), jnp.array([[0.45, 0.45], [0.54, 0.45]])

    def logdensity(x):
        logs = -0.5 * jnp.sum((x - means) ** 2 / variances + jnp.log(variances), axis=1)
        return jax.scipy.special.logsumexp(logs + jnp.log(jnp.array([0.49, 0.51])))

    return x + 0.01 * jax.grad(logdensity)(x) + jnp.sqrt(0.02) * noise


def test_two_well_diffusion(x64):
    noise = jax.random.normal(jax.random.key(0), (10_000, 2))
    solution = pmc.solve(two_wells, jnp.zeros(2), noise, window=10_000, scale=1.0)
    assert solution.converged and solution.fallback_steps == 0
    assert solution.iterations <= 20
    expected = loop(two_wells, jnp.zeros(2), noise)
    np.testing.assert_allclose(solution.states, expected, atol=1e-6)
    estimate = pmc.lyapunov_exponent(two_wells, jnp.zeros(2), noise, solution.states)
    assert estimate.exponent + 4 * estimate.standard_error < 0


def logistic_map(x, _):
    return 4 * x * (1 - x)


def test_chaos_is_noticed_where_iterates_overflow():
    """In single precision most steps are soon not finite, which tells nothing of them."""
    with pytest.warns(pmc.SequentialFallbackWarning, match="Lyapunov exponent of about 0.[67]"):
        solution = pmc.solve(logistic_map, jnp.array([0.3]), jnp.zeros(2048))
    assert solution.iterations <= 10
    assert solution.growth > 0


def test_chaos_is_noticed_and_left_to_the_loop(x64):
    start, inputs = jnp.array([0.3]), jnp.zeros(2048)
    with pytest.warns(pmc.SequentialFallbackWarning, match="Lyapunov exponent of about 0.[67]"):
        solution = pmc.solve(logistic_map, start, inputs)
    assert solution.iterations <= 10
    assert solution.fallback_steps > 1900
    # The states accepted are exact to the tolerance, and chaos doubles that at every step.
    done = 2048 - int(solution.fallback_steps)
    np.testing.assert_allclose(
        solution.states[:done], loop(logistic_map, start, inputs)[:done], atol=1e-6
    )
    assert pmc.verify(solution).max() < 1e-8
