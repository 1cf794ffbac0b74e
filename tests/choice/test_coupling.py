import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.choice import coupling
from parallel_mcmc.choice.coupling import (
    guessed,
    measure_coupling,
    meeting,
    side_by_side,
    starts_near,
    steady_step_times,
)

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


def test_chains_side_by_side_have_the_same_random_numbers(x64):
    """Those of the Langevin diffusion on a Gaussian shrink their distance by 1 - step size."""
    sd = jnp.array([1.0, 10.0])
    kernel = pmc.ula(lambda x: -0.5 * jnp.sum((x / sd) ** 2), 0.3, inverse_mass_matrix=sd**2)
    state = kernel.init(jnp.zeros(2))
    keys = jax.random.split(jax.random.key(0), 12)
    starts = starts_near(kernel, state, 5, 0)
    path, _ = side_by_side(kernel, state, starts, keys, 12)
    assert path.shape == (13, 5, 2)
    distances = path[:, 1:] - path[:, :1]
    np.testing.assert_allclose(distances[1:] / distances[:-1], 0.7, rtol=1e-9)
    # Each is the chain of the kernel.
    chain = kernel.init(path[0, 2] * sd)
    for key in keys:
        chain, _ = kernel.step(chain, kernel.draw(key))
    np.testing.assert_allclose(path[-1, 2] * sd, chain.position, rtol=1e-9)
    # Fewer steps are the first ones, and other seeds begin elsewhere.
    fewer, _ = side_by_side(kernel, state, starts, keys, 4)
    np.testing.assert_array_equal(fewer[:5], path[:5])
    assert (starts_near(kernel, state, 5, 1).position != starts.position).all()
    # Without a seed all begin at the state itself.
    np.testing.assert_array_equal(starts_near(kernel, state, 5).position, np.zeros((5, 2)))


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


def test_what_a_call_takes_is_no_part_of_a_step(x64, monkeypatch):
    kernel = pmc.ula(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    state = kernel.init(jnp.zeros(3))
    keys = jax.random.split(jax.random.key(0), 20)
    calls = []

    def clocked(run, steps):
        calls.append(steps)
        # The first call compiles, and the first step is slow; others differ by a second.
        slow = 100.0 if calls.count(steps) == 1 and steps < 20 else 0.0
        return run(steps), slow + 5.0 + 0.5 * steps + len(calls) % 3

    monkeypatch.setattr(coupling, "clocked", clocked)
    taken = coupling.step_time(kernel, state, keys, 20, 4, 4)
    assert calls == [0] * (1 + coupling.IDLE_CALLS) + [1] + [20] * 4
    # The idle calls took 7, 5, 6, 7 and 5 seconds, the others 17, 15, 16 and 17.
    assert taken == pytest.approx(((15 - 5) / 20, (6 - 5) / 20))


def test_steady_times_are_those_of_a_machine_that_has_settled(monkeypatch):
    kernel = pmc.ula(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    state = kernel.init(jnp.zeros(3))
    keys = jax.random.split(jax.random.key(0), 6)
    calls = []

    def clocked(run, steps):
        count = len(run.args[2].position)
        rounds = calls.count((count, steps))
        calls.append((count, steps))
        # Idle calls differ, and one of the later ones is slow by other work.
        seconds = 5.0 + [9.0, 0.0, 1.0, 2.0, 0.0, 1.0][rounds] if steps == 0 else 6.0
        slow = 3.0 if rounds < 4 else 200.0 if rounds == 5 else 1.0
        return run(steps), seconds + slow * steps / count

    monkeypatch.setattr(coupling, "clocked", clocked)
    one, four = steady_step_times(kernel, state, [(1, keys, 6), (4, keys, 2)], 1480.0)
    assert calls == [(1, 0)] * 6 + [(4, 0)] * 6 + [(1, 6), (4, 2)] * 8
    assert one == pytest.approx((1.0, 0.0)) and four == pytest.approx((0.25, 0.0))


def test_time_is_that_of_a_compiled_call():
    def run(steps):
        calls.append(steps)
        return jnp.zeros(3) + steps

    calls = []
    idle = coupling.idle_seconds(run)
    assert len(idle) == coupling.IDLE_CALLS and all(0 < seconds < 1 for seconds in idle)
    assert calls == [0] * (1 + coupling.IDLE_CALLS)
    result, seconds = coupling.clocked(run, 4)
    np.testing.assert_array_equal(result, 4)
    assert calls[-1] == 4 and 0 < seconds < 1


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
    assert found.draws_again >= coupling.LEAST_AGAIN * found.draws


def test_guesses_are_the_paths_of_a_gaussian(x64):
    kernel = regression(100, 0.0)
    state = kernel.init(jnp.ones(5))
    keys = jax.random.split(jax.random.key(1), 40)
    starts = starts_near(kernel, state, 3, 0)
    path, _ = side_by_side(kernel, state, starts, keys, 40)
    np.testing.assert_allclose(guessed(kernel, state, starts, keys), path[1:], atol=1e-9)
