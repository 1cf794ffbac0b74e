import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc._tree import num_steps
from parallel_mcmc.choice import auto, coupling, cpu, measure
from parallel_mcmc.choice.auto import choose
from parallel_mcmc.kernels.chain import InLanes, Parallel, Sequential


def problem(rows, num_samples=4000, dim=2):
    """A log density that is flat in one direction, so that chains do not meet."""
    data = jnp.ones((rows, dim))

    def logdensity(x):
        return -0.5 * jnp.sum((data @ x) ** 2) / rows

    kernel = pmc.mala(logdensity, 0.3)
    states = jax.tree.map(lambda leaf: leaf[None], kernel.init(jnp.zeros(dim)))
    return kernel, states, jax.random.split(jax.random.key(0), (1, num_samples))


LARGE = 100_000
"""Rows whose reading is more than the caches of the CPU of these tests hold."""


@pytest.fixture(autouse=True)
def small_caches_and_no_memory(monkeypatch):
    monkeypatch.setattr(cpu, "SMALL_TRAFFIC", 1e6)
    monkeypatch.setattr(auto, "_remembered", type(auto._remembered)())


def chains_of(run):
    """Return how many chains a call runs side by side."""
    starts = run.args[2]
    return num_steps(starts)


def is_of_lanes(run):
    """Tell the lanes from the loop: all of them begin at the same state."""
    positions = np.asarray(run.args[2].position)
    return len(positions) > 1 and bool(np.all(positions == positions[0]))


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by the seconds of one step, a batched step and a draw in parallel."""

    def setting(one, batch, solved=None):
        calls = []

        def timed(run, *args):
            calls.append((run, *args))
            keys = len(args[-1])
            if run is measure.evaluate_batch:
                return None, batch * keys
            return None, solved * keys

        def clocked(run, steps):
            calls.append((run, steps))
            count = chains_of(run)
            of_lanes = batch(count) if callable(batch) else batch
            each = of_lanes if is_of_lanes(run) else one
            # A call takes a while by itself.
            return run(steps), each * count * steps + 7.0

        monkeypatch.setattr(measure, "timed_apart", timed)
        monkeypatch.setattr(coupling, "clocked", clocked)
        return calls

    return setting


def gaussian(num_samples=4000, chains=1, step_size=0.3):
    """A small problem whose chains meet."""
    kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), step_size)
    states = jax.vmap(kernel.init)(jnp.zeros((chains, 2)))
    return kernel, states, jax.random.split(jax.random.key(0), (chains, num_samples))


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


@pytest.mark.parametrize("chains", [1, 4])
def test_chains_that_meet_are_drawn_in_lanes(clock, chains):
    calls = clock(1.0, 0.25)
    runner, chosen = choose("auto", None, *gaussian(chains=chains))
    assert isinstance(runner, InLanes) and runner.lanes == chosen.lanes
    meeting = int(re.search(r"after some (\d+)", chosen.reason)[1])
    assert runner.lanes == cpu.best_lanes(meeting, 4000, chains, 128, 100.0) <= 128 // chains
    assert chosen.solver == "shooting" and chosen.window == runner.window <= 4000
    assert chosen.lyapunov_exponent < -0.1 and 0 < chosen.lyapunov_error < 0.05
    # A batch is four times cheaper; what the last of the lanes takes to meet comes on top.
    assert chosen.sequential_seconds == pytest.approx(1)
    again = 1.25 * meeting * runner.lanes / 4000
    assert again <= 1 and chosen.parallel_seconds == pytest.approx(0.25 * (1 + again))
    assert f"in {runner.lanes} lanes" in chosen.reason
    # No more than 5 % of the run, where steps are three times cheaper in a batch.
    taken = sum(
        steps * chains_of(run) / (cpu.BATCH_GAIN if is_of_lanes(run) else 1) for run, steps in calls
    )
    assert 0.02 * 4000 * chains < taken <= 0.05 * 4000 * chains


@pytest.mark.parametrize("draws", [5, 66, 150])
@pytest.mark.parametrize("chains", [1, 4])
@pytest.mark.parametrize("shared", [4.0, 100.0])
def test_no_other_number_of_lanes_is_expected_to_be_cheaper(draws, chains, shared):
    def cost(lanes):
        batch = (shared + lanes * chains) / (lanes * chains)
        # A lane of a longer run is a window of its own.
        again = 1.25 * max(draws * lanes / 2048, draws / max(16 * draws, 256))
        return batch * (1 + again if lanes > 1 else 1)

    allowed = [2**i for i in range(8) if 2**i * chains <= 128 and 2**i * draws * 1.25 <= 2048]
    lanes = cpu.best_lanes(draws, 2048, chains, 128, shared)
    assert lanes in allowed and all(cost(lanes) <= cost(other) for other in allowed)


def test_a_batch_takes_no_less_than_one_step(clock):
    clock(1.0, 0.0)
    runner, chosen = choose("auto", None, *gaussian())
    assert runner.lanes * chosen.parallel_seconds > 1


def test_steps_too_quick_to_be_timed_share_their_overhead(clock):
    clock(1e-9, 1e-9)
    runner, chosen = choose("auto", None, *gaussian())
    assert isinstance(runner, InLanes) and "too soon to be timed" in chosen.reason
    # Few lanes share too little.
    runner, chosen = choose("auto", None, *gaussian(chains=4, step_size=0.01))
    assert runner == Sequential() and "by the loop and" in chosen.reason


def test_quick_steps_that_move_more_than_a_loop_costs_are_compared(clock, monkeypatch):
    """434 rows, 4 chains, 20 steps in 0.13 ms: three times as slow in lanes, which were taken."""
    monkeypatch.setattr(cpu, "TINY_TRAFFIC", 1.0)
    clock(1e-9, 3e-9)
    runner, chosen = choose("auto", None, *gaussian())
    assert runner == Sequential() and "by the loop and" in chosen.reason


@pytest.mark.parametrize(("differ", "lanes"), [(0.0, True), (500.0, False)])
def test_lanes_must_be_faster_even_if_the_trials_err(clock, monkeypatch, differ, lanes):
    calls = clock(1.0, 0.25)
    usual = coupling.clocked

    def uneven(run, steps):
        # The third call without a step, of either kind, is the quickest.
        quickest = steps == 0 and next(count) % (1 + coupling.IDLE_CALLS) == 2
        result, seconds = usual(run, steps)
        return result, seconds + (0.0 if quickest else differ)

    count = itertools.count()
    monkeypatch.setattr(coupling, "clocked", uneven)
    runner, chosen = choose("auto", None, *gaussian())
    # An idle call that was quick by chance makes all seem slower, and the doubt as large.
    draws = next(len(run.args[3]) for run, _ in calls if chains_of(run) == 1)
    assert chosen.sequential_seconds == pytest.approx(1 + differ / draws)
    assert isinstance(runner, InLanes) is lanes


def test_there_are_no_more_lanes_than_a_batch_of_many(clock):
    clock(1.0, 0.25)
    runner, _ = choose("auto", None, *gaussian(200_000, chains=4))
    assert runner.lanes == cpu.MOST_LANES // 4


def test_the_lanes_that_are_taken_are_those_that_were_timed(clock):
    """A batch of few may take as long as one of many."""
    calls = clock(1.0, lambda count: 32 / count)
    runner, chosen = choose("auto", None, *gaussian(step_size=0.05))
    assert runner == Sequential()
    (lanes,) = {chains_of(run) for run, _ in calls} - {1}
    assert f"in {lanes} lanes" in chosen.reason and lanes < 32
    assert chosen.parallel_seconds > 32 / lanes


def test_lanes_that_are_no_cheaper_are_not_taken(clock):
    clock(1.0, 0.9)
    runner, chosen = choose("auto", None, *gaussian())
    assert runner == Sequential() and chosen.lyapunov_exponent < 0
    assert chosen.parallel_seconds > 0.9


def test_lanes_are_fewer_where_chains_take_long_to_meet(clock):
    clock(1.0, 0.01)
    runner, chosen = choose("auto", None, *gaussian(step_size=0.05))
    meeting = int(re.search(r"after some (\d+)", chosen.reason)[1])
    assert 4000 / 32 < meeting
    assert runner.lanes in (8, 16) and meeting <= 4000 / runner.lanes


@pytest.mark.parametrize("chains", [8, 16])
def test_chains_that_meet_too_late_for_lanes_are_left_to_the_loop(clock, chains):
    calls = clock(1.0, 0.01)
    # They meet, but only in the last third of the run.
    runner, chosen = choose("auto", None, *gaussian(chains=chains, step_size=0.003))
    assert runner == Sequential() and "too late for lanes" in chosen.reason
    assert {chains_of(run) for run, _ in calls} == {chains}


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


def test_chains_that_part_are_left_to_the_loop(clock):
    clock(1.0, 0.01)
    kernel, states, keys = problem(100)
    runner, chosen = choose("auto", None, kernel, states, keys)
    assert runner == Sequential() and "do not clearly approach" in chosen.reason
    assert chosen.lyapunov_exponent > -0.05


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
