import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.warmup import DualAveraging, find_reasonable_step_size
from parallel_mcmc.warmup import step_size as dual_averaging
from parallel_mcmc.warmup.step_size import GAMMA, GRID


def acceptance_rate(step_size):
    """Falls with the step size, and is 0.8 at 0.5."""
    return jnp.exp(jnp.log(0.8) * (step_size / 0.5) ** 2)


def adapt(initial, target, num_steps, rate=acceptance_rate):
    def body(_, state):
        return dual_averaging.update(state, rate(jnp.exp(state.log_step_size)), target)

    state = dual_averaging.init(jnp.asarray(initial))
    return dual_averaging.final(jax.lax.fori_loop(0, num_steps, body, state))


@pytest.mark.parametrize("initial", [0.01, 0.5, 20.0])
def test_dual_averaging_converges_to_the_target(initial):
    step_size = adapt(initial, 0.8, 2000)
    # The pull to the centre leaves an error of gamma * |centre - log step size| / sqrt(2000), and
    # the grid one of less than half its width.
    pull = GAMMA * np.log(50) / np.sqrt(2000)
    assert abs(acceptance_rate(step_size) - 0.8) < pull + 0.5 / GRID


def test_updates_are_those_of_algorithm_5_on_a_grid(x64):
    rates = np.random.default_rng(0).uniform(size=20)
    state = dual_averaging.init(jnp.asarray(0.3))
    error, log_average = 0.0, 0.0
    for m, rate in enumerate(rates, start=1):
        state = dual_averaging.update(state, rate, 0.65)
        error = (1 - 1 / (m + 5)) * error + (0.65 - rate) / 0.35 / (m + 5)
        log_step_size = np.round(128 * (np.log(0.3) - np.sqrt(m) / 0.7 * error)) / 128
        log_average = m**-0.75 * log_step_size + (1 - m**-0.75) * log_average
        np.testing.assert_allclose(state.log_step_size, log_step_size, rtol=1e-13)
    np.testing.assert_allclose(dual_averaging.final(state), np.exp(log_average), rtol=1e-13)


@pytest.mark.parametrize("target", [0.6, 0.8, 0.95, 0.99])
def test_an_update_is_of_one_size_whatever_the_target(target):
    def change(rate):
        state = dual_averaging.init(jnp.asarray(1.0))
        return float(dual_averaging.update(state, rate, target).log_step_size)

    # A rate of one, or one that is off as far on the other side.
    assert change(1.0) == pytest.approx(1 / 6 / 0.7, abs=1 / 128)
    assert change(2 * target - 1) == pytest.approx(-1 / 6 / 0.7, abs=1 / 128)
    # However bad a rate is, the step size does not fall by more than a factor of three at once.
    assert np.log(1 / 3) < change(0.0) <= change(2 * target - 1)


def test_rates_that_differ_by_rounding_give_one_step_size(x64):
    rates = np.random.default_rng(0).uniform(size=(20, 1))
    state = dual_averaging.init(jnp.full(2, 0.3))
    for pair in rates * [1, 1 + 1e-9]:
        state = jax.vmap(dual_averaging.update, in_axes=(DualAveraging(0, 0, 0, None, 0), 0, None))(
            state, pair, 0.8
        )
        state = state._replace(count=state.count[0])
    assert state.error[0] != state.error[1]
    step_sizes = dual_averaging.final(state)
    assert step_sizes[0] == step_sizes[1]


def test_final_before_any_update_is_the_initial_step_size():
    np.testing.assert_allclose(dual_averaging.final(dual_averaging.init(jnp.asarray(0.3))), 0.3)


def test_dtype_is_that_of_the_step_size(x64):
    state = dual_averaging.init(jnp.asarray(0.3, jnp.float32))
    state = dual_averaging.update(state, jnp.asarray(0.5, jnp.float64), 0.8)
    assert {leaf.dtype for leaf in state} == {np.dtype("float32"), np.dtype("int32")}


@pytest.mark.parametrize("initial", [1e-6, 0.4, 1e6])
def test_reasonable_step_size_is_the_first_across_the_target(initial):
    found = float(find_reasonable_step_size(acceptance_rate, jnp.asarray(initial), 0.8))
    before = found / 2 if initial < 0.5 else found * 2
    assert (acceptance_rate(found) > 0.8) != (acceptance_rate(before) > 0.8)
    assert np.log2(found / initial) == pytest.approx(round(np.log2(found / initial)), abs=1e-4)


def test_reasonable_step_size_counts_nan_as_rejection():
    def rate(step_size):
        return jnp.where(step_size > 0.1, jnp.nan, 1.0)

    assert float(find_reasonable_step_size(rate, jnp.asarray(1.0), 0.8)) == 0.0625


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_search_ends_where_there_is_nothing_to_find(rate):
    found = find_reasonable_step_size(lambda _: jnp.asarray(rate), jnp.asarray(1.0), 0.8)
    assert float(found) == (2.0**60 if rate else 2.0**-60)


def test_neither_search_nor_averaging_exceeds_the_largest_step_size():
    found = find_reasonable_step_size(lambda _: jnp.ones(2), jnp.asarray([1.0, 1e-9]), 0.8, 1.5)
    np.testing.assert_allclose(found, 1.5)
    state = dual_averaging.init(jnp.asarray(1.0))
    for _ in range(20):
        state = dual_averaging.update(state, jnp.asarray(1.0), 0.8, 1.5)
    np.testing.assert_allclose(dual_averaging.final(state), 1.5, rtol=0.05)
    assert state.log_step_size <= np.float32(np.log(1.5))
    # What falls is not held back.
    assert find_reasonable_step_size(lambda e: jnp.where(e > 1, 0.0, 1.0), 9.0, 0.8, 1.5) == 0.5625
