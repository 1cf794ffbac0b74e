import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.choice.coupling import LEAST_AGAIN, measure_coupling, meeting

TOLERANCE = 1e-4


def test_meeting_is_when_the_last_chain_is_within_the_tolerance():
    steps = np.arange(31.0)[:, None]
    distances = np.array([1.0, 4.0]) * 0.5**steps
    found = meeting(distances, TOLERANCE, 1000)
    # 2^-14 and 4 2^-16 are the first below 1e-4.
    assert found.draws == 16
    # The later halves, whose last distance counts with the tolerance.
    expected = np.log(TOLERANCE**2 / (2.0**-7 * 2.0**-6)) / (7 + 8)
    assert found.exponent == pytest.approx(expected)


def test_meeting_is_extrapolated():
    distances = 0.5 ** np.arange(5.0)[:, None] * np.array([1.0, 1.0, 1.0])
    found = meeting(distances, TOLERANCE, 1000)
    assert found.draws == 14 and found.exponent == pytest.approx(np.log(0.5))
    assert found.error == pytest.approx(0, abs=1e-12)
    assert meeting(distances, TOLERANCE, 14).draws is None


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_chains_that_do_not_approach_do_not_meet(factor):
    distances = factor ** np.arange(9.0)[:, None] * np.ones(3)
    found = meeting(distances, TOLERANCE, 1000)
    assert found.draws is None and found.exponent == pytest.approx(np.log(factor))


def test_a_distance_that_shrinks_for_some_only_is_within_its_error():
    distances = np.ones((9, 2))
    distances[:, 0] = 0.5 ** np.arange(9.0)
    found = meeting(distances, TOLERANCE, 1000)
    # Rises of -4 log 2 and 0 in 8 draws: half of log 2, with an error of sqrt(2)/4 log 2.
    assert found.exponent == pytest.approx(-np.log(2) / 2)
    assert found.error == pytest.approx(np.sqrt(2) / 4 * np.log(2))
    assert found.draws is None


def test_directions_that_shrink_at_first_tell_nothing():
    distances = np.maximum(0.5 ** np.arange(21.0)[:, None], 0.1) * np.ones(3)
    found = meeting(distances, TOLERANCE, 1000)
    assert found.draws is None and found.exponent == 0


def test_chains_that_are_no_number_do_not_meet():
    distances = np.ones((9, 2))
    distances[1:] = np.nan
    assert meeting(distances, TOLERANCE, 1000).draws is None


@pytest.mark.parametrize(("chains", "runs"), [(1, 3), (4, 2)])
def test_the_exponent_of_a_kernel_is_measured(x64, chains, runs):
    kernel = pmc.ula(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    states = jax.vmap(kernel.init)(jnp.zeros((chains, 3)))
    keys = jax.random.split(jax.random.key(0), 30)
    found, taken = measure_coupling(kernel, states, keys, 20, runs, 1000)
    assert found.exponent == pytest.approx(np.log(0.7), rel=1e-6)
    assert taken.seconds >= 0 and taken.doubt >= 0
    # From about a standard deviation down to 1e-9.
    assert 50 < found.draws < 70


def regression(rows, noise):
    """Return MALA for a regression, exactly whitened, whose posterior is a Gaussian or not."""
    design = jax.random.normal(jax.random.key(0), (rows, 5))
    factor = jnp.linalg.cholesky(jnp.linalg.inv(design.T @ design))

    def logdensity(w):
        return -0.5 * jnp.sum((design @ (factor @ w)) ** 2) - noise * jnp.sum(w**4)

    return pmc.mala(logdensity, 0.2)


@pytest.mark.parametrize(
    ("rows", "noise", "pays"), [(30_000, 0.0, True), (30_000, 0.1, False), (3_000, 0.0, False)]
)
def test_lanes_whose_start_is_foreseen_make_less_again(x64, rows, noise, pays):
    """Where there are data enough that a guess costs nothing, and it is right."""
    kernel = regression(rows, noise)
    states = jax.vmap(kernel.init)(jnp.ones((2, 5)))
    keys = jax.random.split(jax.random.key(1), 40)
    found, _ = measure_coupling(kernel, states, keys, 30, 2, 2000)
    assert found.draws is not None
    assert (found.draws_again < found.draws) is pays
    assert found.draws_again >= LEAST_AGAIN * found.draws
