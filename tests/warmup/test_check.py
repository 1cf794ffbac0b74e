import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.warmup import AcceptanceWarning, window_adaptation
from parallel_mcmc.warmup.check import TOLERANCE, warn_of_acceptance


@pytest.mark.parametrize("rate", [0.8, 0.8 + 0.9 * TOLERANCE, 0.8 - 0.9 * TOLERANCE])
def test_nothing_is_said_of_a_rate_near_the_target(rate):
    warn_of_acceptance(np.full(200, rate), 0.8, 0.5, np.inf)


@pytest.mark.parametrize("rate", [0.8 + 1.1 * TOLERANCE, 0.8 - 1.1 * TOLERANCE, 0.0])
def test_a_rate_off_the_target(rate):
    # Only the last steps count.
    rates = np.append(np.full(175, 0.8), np.full(25, rate))
    message = f"last 25 steps .* rate of {rate:.2f}, .* more than 0.1 from the target of 0.80"
    with pytest.warns(AcceptanceWarning, match=message):
        warn_of_acceptance(rates, 0.8, 0.5, np.inf)


def test_noise_is_no_reason():
    rates = np.random.default_rng(0).choice([0.0, 1.0], p=[0.35, 0.65], size=200)
    warn_of_acceptance(rates, 0.8, 0.5, np.inf)


def test_a_larger_step_size_that_would_not_help():
    warn_of_acceptance(np.full(200, 1.0), 0.8, 1.4, 1.5)
    with pytest.warns(AcceptanceWarning):
        warn_of_acceptance(np.full(200, 1.0), 0.8, 0.1, 1.5)
    with pytest.warns(AcceptanceWarning):
        warn_of_acceptance(np.full(200, 0.5), 0.8, 1.4, 1.5)


STUCK = pmc.mala(lambda x: jnp.where(jnp.all(x == 0), 0.0, jnp.nan), 0.3)


def test_a_warmup_of_chains_that_never_move():
    with pytest.warns(AcceptanceWarning, match="accepted with a rate of 0.00"):
        window_adaptation(jax.random.key(0), STUCK, jnp.zeros(2), 150)


@pytest.mark.parametrize("change", [{"adapt_step_size": False}, {"num_steps": 149}])
def test_nothing_is_said_of_what_was_not_adapted_or_is_too_short(change):
    arguments = {"key": jax.random.key(0), "kernel": STUCK, "num_steps": 150} | change
    window_adaptation(initial_position=jnp.zeros(2), **arguments)
