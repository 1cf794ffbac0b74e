import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.kernels.metropolis import accept, candidate


@pytest.mark.parametrize(
    ("uniform", "initial", "final", "rate", "accepted"),
    [
        (0.5, 0.0, 0.6, np.exp(-0.6), True),
        (0.5, 0.0, 0.8, np.exp(-0.8), False),
        (0.999, 1.0, 0.0, 1.0, True),
        (0.0, 0.0, np.inf, 0.0, False),
        (0.0, 0.0, 5.0, np.exp(-5.0), True),
        (0.5, 0.0, np.nan, 0.0, False),
        (0.0, 0.0, np.nan, 0.0, False),
        (0.5, 0.0, -np.inf, 0.0, False),
    ],
)
def test_decision(x64, uniform, initial, final, rate, accepted):
    proposal = candidate(jnp.ones(2), jnp.array(uniform), jnp.array(initial), jnp.array(final))
    state, info = accept(jnp.zeros(2), proposal)
    np.testing.assert_array_equal(state, np.full(2, float(accepted)))
    assert bool(info.is_accepted) == accepted == bool(proposal.log_margin > 0)
    np.testing.assert_allclose(info.acceptance_rate, rate)
    assert bool(info.is_divergent) == (not -np.inf < final < 1000)
    assert info.accept_margin >= 0


def test_margin_is_the_distance_to_the_threshold(x64):
    uniform = jnp.array(0.3)
    for ratio in (-2.0, 0.5):
        margin = candidate(jnp.zeros(1), uniform, jnp.array(ratio), jnp.array(0.0)).log_margin
        np.testing.assert_allclose(margin, ratio - np.log(0.3))
