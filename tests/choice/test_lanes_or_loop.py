import itertools
import re
from types import SimpleNamespace

import pytest
from choosing import chains_of, gaussian, is_of_lanes, problem, with_clock

from parallel_mcmc.choice import lanes_or_loop, step_times
from parallel_mcmc.choice.auto import choose
from parallel_mcmc.kernels.chain import InLanes, Sequential


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    return with_clock(monkeypatch)


@pytest.mark.parametrize("chains", [1, 4])
def test_chains_that_meet_are_drawn_in_lanes(clock, chains):
    calls = clock(1.0, 0.25)
    runner, chosen = choose("auto", None, *gaussian(chains=chains))
    assert isinstance(runner, InLanes) and runner.lanes == chosen.lanes
    meeting = int(re.search(r"after some (\d+)", chosen.reason)[1])
    assert (
        runner.lanes == lanes_or_loop.best_lanes(meeting, 4000, chains, 128, 100.0) <= 128 // chains
    )
    assert chosen.solver == "shooting" and chosen.window == runner.window <= 4000
    assert chosen.lyapunov_exponent < -0.1 and 0 < chosen.lyapunov_error < 0.05
    # A batch is four times cheaper; what the last of the lanes takes to meet comes on top.
    assert chosen.sequential_seconds == pytest.approx(1)
    again = 1.25 * meeting * runner.lanes / 4000
    assert again <= 1 and chosen.parallel_seconds == pytest.approx(0.25 * (1 + again))
    assert f"in {runner.lanes} lanes" in chosen.reason
    # No more than 5 % of the run, where steps are three times cheaper in a batch.
    taken = sum(
        steps * chains_of(run) / (lanes_or_loop.BATCH_GAIN if is_of_lanes(run) else 1)
        for run, steps in calls
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
    best = lanes_or_loop.best_lanes(draws, 2048, chains, 128, shared)
    assert best in allowed and all(cost(best) <= cost(other) for other in allowed)


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
    monkeypatch.setattr(lanes_or_loop, "TINY_TRAFFIC", 1.0)
    clock(1e-9, 3e-9)
    runner, chosen = choose("auto", None, *gaussian())
    assert runner == Sequential() and "by the loop and" in chosen.reason


@pytest.mark.parametrize("differ", [0.0, 50.0, 500.0])
def test_an_idle_call_that_is_quick_by_chance_misleads_no_trial(clock, monkeypatch, differ):
    """All steps seem slower by it. The other idle calls show it, and a longer trial is made."""
    calls = clock(1.0, 0.25)
    usual = step_times.clocked

    def uneven(run, steps):
        # The third call without a step, of either kind, is the quickest.
        quickest = steps == 0 and next(count) % (1 + step_times.IDLE_CALLS) == 2
        result, seconds = usual(run, steps)
        return result, seconds + (0.0 if quickest else differ)

    count = itertools.count()
    monkeypatch.setattr(step_times, "clocked", uneven)
    runner, chosen = choose("auto", None, *gaussian())
    assert isinstance(runner, InLanes) and chosen.sequential_seconds == pytest.approx(1)
    idle = [steps for _, steps in calls].count(0)
    assert idle == (2 if differ == 0 else 4) * (1 + step_times.IDLE_CALLS)


@pytest.mark.parametrize(("seems", "pays"), [(0.3, True), (1.2, True), (3.0, False)])
def test_what_is_not_clear_is_timed_for_longer(clock, seems, pays):
    """Both cores are at work after a while only; what is clear at once is not timed again."""

    def made():
        return [chains_of(run) for run, steps in calls if is_of_lanes(run) and steps]

    # One that warms up and four that are timed are 5 % of the run.
    first = 1 + 4
    calls = clock(1e-4, lambda count: 1e-4 * (seems if len(made()) <= first else 0.4))
    runner, _ = choose("auto", None, *gaussian())
    assert isinstance(runner, InLanes) is pays
    assert len(made()) == first + (seems == 1.2)


@pytest.mark.parametrize(("passed", "longest"), [(0.4, 0.02), (60.0, 0.1)])
def test_a_longer_trial_is_a_small_part_of_the_call_that_makes_it(
    clock, monkeypatch, passed, longest
):
    clock(1e-4, 1.2e-4)
    clocks, given = iter([7.0, 7.0 + passed]), []
    fake = SimpleNamespace(perf_counter=lambda: next(clocks))
    monkeypatch.setattr(lanes_or_loop, "time", fake)
    usual = lanes_or_loop.steady_step_times

    def steady(*arguments):
        given.append(arguments[-1])
        return usual(*arguments)

    monkeypatch.setattr(lanes_or_loop, "steady_step_times", steady)
    choose("auto", None, *gaussian())
    assert given == [pytest.approx(longest)]


def test_there_are_no_more_lanes_than_a_batch_of_many(clock):
    clock(1.0, 0.25)
    runner, _ = choose("auto", None, *gaussian(200_000, chains=4))
    assert runner.lanes == lanes_or_loop.MOST_LANES // 4


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


def test_chains_that_part_are_left_to_the_loop(clock):
    clock(1.0, 0.01)
    kernel, states, keys = problem(100)
    runner, chosen = choose("auto", None, kernel, states, keys)
    assert runner == Sequential() and "do not clearly approach" in chosen.reason
    assert chosen.lyapunov_exponent > -0.05
