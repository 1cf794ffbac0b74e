"""BlackJAX's own quick start, with the imports of its loop and its warmup changed.

Its example: a normal distribution of unknown location and scale, 1,000 observations; HMC by hand,
then NUTS with Stan's warmup. The page writes the loop out and says that
`run_inference_algorithm` is the same.
"""

import blackjax
import jax
import jax.numpy as jnp
import jax.scipy.stats as stats
import numpy as np
import pytest

from parallel_mcmc.blackjax import run_inference_algorithm, window_adaptation

observed = np.random.default_rng(0).normal(10, 20, size=1_000)


def logdensity_fn(loc, log_scale, observed=observed):
    """Univariate Normal"""
    scale = jnp.exp(log_scale)
    logjac = log_scale
    logpdf = stats.norm.logpdf(observed, loc, scale)
    return logjac + jnp.sum(logpdf)


def logdensity(x):
    return logdensity_fn(**x)


def check(states):
    """The posterior is close to N(mean, sd / sqrt(n)) and N(log sd, 1 / sqrt(2 n))."""
    loc, log_scale = states.position["loc"], states.position["log_scale"]
    ess = blackjax.diagnostics.effective_sample_size
    for draws, mean, sd in (
        (loc, observed.mean(), observed.std() / np.sqrt(1000)),
        (log_scale, np.log(observed.std()), 1 / np.sqrt(2000)),
    ):
        error = sd / np.sqrt(float(ess(draws[None])))
        # The scale has a skew of a thousandth.
        assert abs(draws.mean() - mean) < 4 * error + 2e-3 * abs(mean)


@pytest.mark.parametrize("solver", ["auto", pytest.param("parallel", marks=pytest.mark.slow)])
def test_quick_start(x64, solver):
    rng_key = jax.random.key(20230701)

    inv_mass_matrix = np.array([0.5, 0.01])
    num_integration_steps = 60
    step_size = 1e-3
    hmc = blackjax.hmc(logdensity, step_size, inv_mass_matrix, num_integration_steps)
    initial_position = {"loc": 1.0, "log_scale": 1.0}
    initial_state = hmc.init(initial_position)
    rng_key, sample_key = jax.random.split(rng_key)
    state, _ = run_inference_algorithm(
        sample_key, hmc, 1000, initial_state=initial_state, solver=solver
    )
    expected, _ = blackjax.util.run_inference_algorithm(
        sample_key, hmc, 1000, initial_state=initial_state
    )
    np.testing.assert_allclose(state.position["loc"], expected.position["loc"], rtol=1e-6)

    warmup = window_adaptation(blackjax.nuts, logdensity)
    rng_key, warmup_key, sample_key = jax.random.split(rng_key, 3)
    (state, parameters), _ = warmup.run(warmup_key, initial_position, num_steps=1000)
    nuts = blackjax.nuts(logdensity, **parameters)
    _, (states, _) = run_inference_algorithm(
        sample_key, nuts, 1_000, initial_state=state, solver=solver
    )
    check(states)
