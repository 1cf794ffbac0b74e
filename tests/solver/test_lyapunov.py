import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc


def test_a_linear_recurrence_has_its_spectral_radius(x64):
    matrix = jnp.array([[0.9, 5.0], [0.0, 0.5]])
    estimate = pmc.lyapunov_exponent(lambda x, u: matrix @ x + u, jnp.ones(2), jnp.ones((4000, 2)))
    # The norm of the products differs from its asymptote by a constant factor.
    np.testing.assert_allclose(estimate.exponent, np.log(0.9), atol=3 / 4000)


def test_henon_map(x64):
    def henon(x, _):
        return jnp.stack([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]])

    estimate = pmc.lyapunov_exponent(henon, jnp.zeros(2), jnp.zeros(20_000))
    # 0.41922 (Sprott, Chaos and Time-Series Analysis, 2003).
    assert abs(estimate.exponent - 0.41922) < 4 * estimate.standard_error
    assert estimate.standard_error < 0.01


@pytest.mark.slow
def test_given_states_are_used():
    inputs = jax.random.normal(jax.random.key(0), (100, 2))

    def step(x, u):
        return 0.5 * jnp.sin(x) + u

    solution = pmc.solve(step, jnp.zeros(2), inputs)
    given = pmc.lyapunov_exponent(step, jnp.zeros(2), inputs, solution.states)
    computed = pmc.lyapunov_exponent(step, jnp.zeros(2), inputs)
    np.testing.assert_allclose(given.exponent, computed.exponent, rtol=1e-3)
    assert given.exponent < 0
    assert given.growth.shape == (100,)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "step must be callable", {"step": 1}),
        (ValueError, "initial_state must have a floating", {"initial_state": jnp.array(1)}),
        (ValueError, "inputs must have leaves", {"inputs": jnp.zeros(19)}),
        (ValueError, "states must have the shape", {"states": jnp.zeros(5)}),
        (ValueError, "states must be finite", {"states": jnp.full(50, jnp.nan)}),
    ],
)
def test_bad_arguments(error, message, change):
    arguments = {
        "step": lambda x, u: 0.5 * x,
        "initial_state": jnp.array(1.0),
        "inputs": jnp.zeros(50),
        "states": None,
    }
    with pytest.raises(error, match=message):
        pmc.lyapunov_exponent(**(arguments | change))
