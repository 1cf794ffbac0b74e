import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.solver import api, trial


def step(x, u):
    return 0.7 * jnp.sin(x) + u


@pytest.fixture
def chain():
    inputs = jax.random.normal(jax.random.key(0), (3000, 2))
    _, states = jax.lax.scan(lambda x, u: (step(x, u),) * 2, jnp.zeros(2), inputs)
    return inputs, states


class Clock:
    """Time that passes only in the runs of a trial, of so many seconds by window."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.calls = 0.0, seconds, []
        monkeypatch.setattr(trial.time, "perf_counter", lambda: self.now)

    def run(self, window, quick):
        self.calls.append((window, quick))
        # The first run of a window is compiled.
        self.now += 100.0 if quick else self.seconds[window]
        return jnp.zeros(())


def test_the_window_with_the_shortest_run_is_taken(monkeypatch):
    clock = Clock(monkeypatch, {4096: 3.0, 256: 1.5, 16384: 1.8})
    assert trial.fastest(clock.run, clock.seconds) == 256
    # Each was run once before it was timed.
    assert clock.calls == [(w, quick) for w in (4096, 256, 16384) for quick in (True, False)]


def test_the_default_is_taken_unless_another_is_clearly_faster(monkeypatch):
    clock = Clock(monkeypatch, {4096: 3.0, 256: 2.1, 16384: 3.5})
    assert trial.fastest(clock.run, clock.seconds) == 4096


def test_only_a_long_chain_is_tried():
    assert trial.trial_length(2**20 - 1) == 0
    assert trial.trial_length(2**20) == 2**14


def test_windows_slide_along_the_trial():
    assert trial.windows_to_try(4096, 2**14) == (4096, 256)
    assert trial.windows_to_try(4096, 2**15) == (4096, 256, 16384)


@pytest.fixture
def short_trials(monkeypatch):
    """A chain of a thousand steps is long, and windows of 8 and 16 are tried."""
    monkeypatch.setattr(trial, "LONG", 1000)
    monkeypatch.setattr(trial, "WINDOWS", (8,))
    monkeypatch.setattr(api, "LARGEST_DEFAULT_WINDOW", 16)


@pytest.mark.parametrize("window", [8, 16])
def test_solve_takes_the_window_of_its_trial(chain, short_trials, monkeypatch, window):
    inputs, states = chain
    tried = {}

    def fastest(run, windows):
        for each in windows:
            tried[each] = run(each, True), run(each, False)
        return window

    monkeypatch.setattr(api, "fastest", fastest)
    ours = pmc.solve(step, jnp.zeros(2), inputs)
    np.testing.assert_allclose(ours.states, states, atol=1e-3)
    assert set(tried) == {16, 8}
    for quick, full in tried.values():
        # The trial solves the first steps, and is over sooner where nothing is asked of it.
        np.testing.assert_allclose(full.states, states[: 3000 // trial.TRIAL_SHARE], atol=1e-3)
        assert quick.iterations < full.iterations
    given = pmc.solve(step, jnp.zeros(2), inputs, window=window)
    other = pmc.solve(step, jnp.zeros(2), inputs, window=24 - window)
    assert ours.iterations == given.iterations != other.iterations


def test_a_trial_compiles_one_program_a_window(chain, short_trials):
    inputs, _ = chain

    def fresh(x, u):
        return step(x, u)

    before = api._solve._cache_size()
    pmc.solve(fresh, jnp.zeros(2), inputs)
    # Those of the trial, and that of the chain.
    assert api._solve._cache_size() == before + 3
    for window in (8, 16):
        pmc.solve(fresh, jnp.zeros(2), inputs, window=window)
    pmc.solve(fresh, jnp.zeros(2), inputs)
    assert api._solve._cache_size() == before + 4


def test_a_guess_is_cut_with_the_inputs(chain, short_trials):
    inputs, states = chain
    found = pmc.solve(step, jnp.zeros(2), inputs, initial_guess=states)
    np.testing.assert_allclose(found.states, states, atol=1e-3)


def test_nothing_is_tried_under_jit(chain, short_trials, monkeypatch):
    inputs, states = chain

    def fastest(run, windows):
        raise AssertionError("a trial under jit")

    monkeypatch.setattr(api, "fastest", fastest)
    found = jax.jit(lambda u: pmc.solve(step, jnp.zeros(2), u).states)(inputs)
    np.testing.assert_allclose(found, states, atol=1e-3)
