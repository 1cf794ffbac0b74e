import jax
import jax.numpy as jnp
import numpy as np
import pytest
from choosing import LARGE, gaussian, problem, with_clock

import parallel_mcmc as pmc
from parallel_mcmc.choice import auto, cpu, measure
from parallel_mcmc.choice.auto import choose
from parallel_mcmc.kernels.chain import InLanes, Parallel, Sequential


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    return with_clock(monkeypatch)


def test_a_short_run_of_small_steps_is_left_to_the_loop_and_nothing_is_timed(clock):
    calls = clock(1.0, 0.1, 0.1)
    runner, chosen = choose("auto", None, *gaussian(cpu.SHORT_RUN - 1))
    assert runner == Sequential() and chosen.solver == "sequential" and chosen.window is None
    assert "so few draws are over" in chosen.reason and not calls


def test_a_short_run_that_moves_much_is_measured(clock, monkeypatch):
    monkeypatch.setattr(cpu, "SHORT_TRAFFIC", 1.0)
    clock(1.0, 0.01)
    runner, _ = choose("auto", None, *gaussian(cpu.SHORT_RUN - 1))
    assert isinstance(runner, InLanes)


def test_many_chains_fill_a_batch_by_themselves(clock):
    clock(1.0, 0.01)
    runner, chosen = choose("auto", None, *gaussian(chains=32))
    assert runner == Sequential() and "32 chains fill a batch" in chosen.reason


def test_a_kernel_of_unknown_scale_is_left_to_the_loop(clock):
    clock(1.0, 0.01)
    kernel = pmc.gibbs([lambda x, z: 0.5 * x + z], lambda key: (jax.random.normal(key, (2,)),))
    states = jax.tree.map(lambda leaf: leaf[None], kernel.init(jnp.zeros(2)))
    runner, chosen = choose(
        "auto", None, kernel, states, jax.random.split(jax.random.key(0), (1, 4000))
    )
    assert runner == Sequential() and "is not known" in chosen.reason


def test_traffic_counts_the_data():
    kernel, states, keys = problem(100_000)
    state = jax.tree.map(lambda leaf: leaf[0], states)
    traffic = measure.step_traffic(kernel, state, keys[0, 0])
    itemsize = states.position.dtype.itemsize
    # The data are read for the log density and for its gradient.
    assert 2 * 100_000 * 2 * itemsize <= traffic < 20 * 100_000 * 2 * itemsize


@pytest.mark.parametrize(
    ("solved", "solver"), [(0.5, "parallel"), (0.95, "sequential"), (2.0, "sequential")]
)
def test_a_large_step_is_tried(clock, solved, solver):
    calls = clock(1.0, 0.2, solved)
    runner, chosen = choose("auto", None, *problem(LARGE))
    assert chosen.solver == solver
    assert isinstance(runner, Parallel) == (solver == "parallel")
    assert (chosen.sequential_seconds, chosen.parallel_seconds) == pytest.approx((1.0, solved))
    assert "trial of 64 draws" in chosen.reason
    # No more than 5 % of the run.
    assert max(len(call[-1]) for call in calls if call[0] is measure.run_chain) <= 0.05 * 4000


def test_a_short_run_is_not_spent_on_a_trial(clock):
    calls = clock(1.0, 0.2, None)
    _, chosen = choose("auto", None, *problem(LARGE, num_samples=400))
    assert chosen.solver == "parallel" and chosen.parallel_seconds == pytest.approx(0.4)
    assert "2 evaluations of the step" in chosen.reason
    assert not any(call[0] is measure.run_chain for call in calls)


def test_a_batch_that_saves_nothing_is_not_tried(clock):
    calls = clock(1.0, 1.0, None)
    _, chosen = choose("auto", None, *problem(LARGE))
    assert chosen.solver == "sequential" and "in a batch" in chosen.reason
    assert not any(call[0] is measure.run_chain for call in calls)


def test_the_outcome_is_remembered(clock):
    calls = clock(1.0, 0.2, 0.5)
    question = problem(LARGE)
    first = choose("auto", None, *question)
    count = len(calls)
    assert choose("auto", None, *question) == first and len(calls) == count


def test_the_oldest_outcomes_are_forgotten(clock, monkeypatch):
    clock(1.0, 0.2, 0.5)
    monkeypatch.setattr(auto, "REMEMBERED", 2)
    for rows in (10, 20, 30):
        choose("auto", None, *problem(rows))
    assert len(auto._remembered) == 2


@pytest.mark.parametrize(
    ("solver", "expected"), [("parallel", Parallel(None, 8)), ("sequential", Sequential())]
)
def test_a_pinned_solver_is_taken(solver, expected):
    runner, chosen = choose(solver, 8, *problem(LARGE))
    assert runner == expected and chosen.solver == solver and chosen.reason == "it was asked for"


def test_wrong_solver():
    with pytest.raises(ValueError, match='solver must be "auto", "parallel", "sequential"'):
        choose("fast", None, *problem(10))


def test_samples_say_what_was_chosen_and_are_the_same_draws(x64, clock):
    clock(1.0, 0.2, 0.5)
    kernel, _, _ = problem(LARGE)

    def draw(solver):
        return pmc.sample(
            jax.random.key(1), kernel, jnp.zeros(2), 64, solver=solver, progress_bar=False
        )

    auto, loop = draw("auto"), draw("sequential")
    assert auto.stats.choice.solver == "parallel" and auto.stats.iterations > 0
    assert loop.stats.choice == pmc.Choice("sequential", None, "it was asked for")
    np.testing.assert_allclose(auto.position, loop.position, atol=1e-6)


def test_time_is_that_of_a_compiled_call():
    result, took = measure.timed(jax.jit(lambda x: x + 1), jnp.zeros(3))
    np.testing.assert_array_equal(result, 1)
    assert 0 < took < 1
