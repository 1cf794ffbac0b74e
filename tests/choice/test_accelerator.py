import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from posteriors import PROBLEMS

import parallel_mcmc as pmc
from parallel_mcmc.choice import accelerator, auto, measure, runner
from parallel_mcmc.choice.auto import choose
from parallel_mcmc.kernels.chain import Parallel, Sequential
from parallel_mcmc.solver import method

DRAWS = 8192
TRIAL = 204
"""Draws of a trial of such a run: two trials are 5 % of it."""


@pytest.fixture(autouse=True)
def an_accelerator_without_memory_of_choices(monkeypatch):
    for module in (auto, runner):
        monkeypatch.setattr(module, "on_cpu", lambda: False)
    # Windows here are too short for a stride on an accelerator.
    monkeypatch.setattr(method, "default_stride", lambda length: 1)
    monkeypatch.setattr(auto, "_remembered", type(auto._remembered)())


@pytest.fixture
def clock(monkeypatch):
    """Let an iteration last ten steps of the loop, and any batch as long as any other."""
    calls = []

    def timed(run, *args):
        calls.append(args)
        result = run(*args)
        if run is measure.evaluate_batch:
            return result, 1e-3
        if isinstance(args[0], Sequential):
            return result, 1e-3 * args[-1].shape[1]
        return result, 1e-2 * float(result.stats.iterations.max())

    monkeypatch.setattr(measure, "timed", timed)
    return calls


def batches_take(step, monkeypatch):
    """Let a batch last as long as its steps, of so many seconds."""
    ours = measure.timed

    def timed(run, *args):
        result, seconds = ours(run, *args)
        return result, (step * len(args[-1]) if run is measure.evaluate_batch else seconds)

    monkeypatch.setattr(measure, "timed", timed)


def problem(name, num_samples=DRAWS, chains=1, kind="HMC", **changes):
    case = PROBLEMS[name]()._replace(**changes)
    kernel = case.kernel(kind)
    starts = jax.random.normal(jax.random.key(1), (chains, case.dim))
    states = jax.vmap(kernel.init)(starts)
    return kernel, states, jax.random.split(jax.random.key(0), (chains, num_samples))


def trials(calls):
    return [args[0] for args in calls if isinstance(args[0], Parallel)]


def trial_iterations(calls):
    (arguments,) = (args for args in calls if isinstance(args[0], Parallel))
    return float(accelerator.run_all(*arguments).stats.iterations.max())


def test_a_posterior_close_to_gaussian_keeps_the_model_of_the_kernel(x64, clock):
    found, chosen = choose("auto", None, *problem("gaussian 100-D", chains=2))
    assert found == Parallel(None, 4096) and chosen.jacobian is None and chosen.window == 4096
    # Of a chain's draw: the loop takes a step for both at once.
    assert chosen.sequential_seconds == pytest.approx(0.5e-3)
    assert chosen.parallel_seconds < 0.02 * chosen.sequential_seconds
    assert f"trial of {TRIAL} draws" in chosen.reason
    assert [trial.window for trial in trials(clock)] == [TRIAL]


@pytest.mark.parametrize("name", ["banana", pytest.param("eight schools", marks=pytest.mark.slow)])
def test_a_posterior_far_from_gaussian_gets_the_whole_jacobian(x64, clock, name):
    found, chosen = choose("auto", None, *problem(name))
    assert found == Parallel(pmc.Newton(), 4096) and chosen.jacobian == "Dense"


def test_a_chain_that_is_not_solved_in_the_trial_is_left_to_the_loop(x64, clock):
    # Steps that are hardly stable: errors grow along the chain.
    found, chosen = choose("auto", None, *problem("banana", hmc_step_size=1.8))
    assert found == Sequential() and chosen.solver == "sequential" and chosen.window is None
    assert "too few states an iteration" in chosen.reason
    assert chosen.parallel_seconds is None
    assert not trials(clock)


@pytest.mark.parametrize(
    ("step", "window"),
    # Of an iteration of 10 ms: half of the window is not enough, or is while it has 1,592 steps, or
    # always, since nothing is left for what does not grow with the window.
    [(1e-6, 4096), (1e-5, 2048), (1e-4, 256)],
)
def test_a_window_is_as_long_as_keeps_the_device_busy(x64, clock, monkeypatch, step, window):
    batches_take(step, monkeypatch)
    found, chosen = choose("auto", None, *problem("gaussian 100-D"))
    assert found == Parallel(None, window) and chosen.window == window
    # Of ten steps of the loop in an iteration, what is not for the steps of the trial.
    fixed = max(0, 1e-2 - step * TRIAL)
    assert chosen.parallel_seconds == pytest.approx(
        trial_iterations(clock) * (fixed / window + step), rel=1e-6
    )


def test_the_loop_is_taken_where_a_batch_takes_as_long_as_its_steps(x64, clock, monkeypatch):
    batches_take(1e-3, monkeypatch)
    found, chosen = choose("auto", None, *problem("eight schools"))
    assert found == Sequential()
    assert chosen.parallel_seconds > chosen.sequential_seconds / 1.1


def test_a_short_run_is_not_spent_on_a_trial(clock):
    found, chosen = choose("auto", None, *problem("banana", num_samples=1000))
    assert found == Parallel(None, 1000) and "the run is short" in chosen.reason
    assert not clock


@pytest.mark.parametrize(("states", "window"), [(1e6, 4096), (4096, 2048), (600, 256), (1, TRIAL)])
def test_a_window_takes_half_of_the_memory(clock, monkeypatch, states, window):
    kernel, first, keys = problem("gaussian 100-D")
    trial = Parallel(None, TRIAL, None, TRIAL // 3)
    program = accelerator.run_all.lower(trial, kernel, first, keys[:, :TRIAL]).compile()
    each = program.memory_analysis().temp_size_in_bytes / TRIAL
    device = types.SimpleNamespace(memory_stats=lambda: {"bytes_limit": each * states})
    monkeypatch.setattr(accelerator.jax, "local_devices", lambda: [device])
    found, chosen = choose("auto", None, kernel, first, keys)
    assert found.window == chosen.window == window


def test_the_outcome_is_remembered(x64, clock):
    question = problem("banana")
    first = choose("auto", None, *question)
    count = len(clock)
    assert choose("auto", None, *question) == first and len(clock) == count


def test_draws_are_those_of_the_loop_and_a_checkpoint_goes_on(x64, clock, tmp_path):
    case = PROBLEMS["banana"]()
    kernel = case.kernel("HMC")
    arguments = (jax.random.key(1), kernel, jnp.zeros(2), 2000)
    plain = pmc.sample(*arguments, solver="sequential", progress_bar=False)
    stored = pmc.sample(
        *arguments,
        window=512,
        checkpoint=tmp_path / "run",
        checkpoint_every=1000,
        progress_bar=False,
    )
    assert stored.stats.choice.jacobian == "Dense" and stored.stats.fallback_steps.sum() == 0
    np.testing.assert_allclose(stored.position, plain.position, atol=1e-6)
    again = pmc.resume(tmp_path / "run", kernel, progress_bar=False)
    assert again.stats.choice == stored.stats.choice
    np.testing.assert_array_equal(again.position, stored.position)
