from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from store_cases import (
    DRAWS,
    EVERY,
    START,
    assert_same,
    begin,
    draw,
    draw_and_crash,
    kernel,
    logdensity,
    several,
)

import parallel_mcmc as pmc
from parallel_mcmc.store import run
from parallel_mcmc.store.manifest import Manifest
from parallel_mcmc.store.recorder import OnDisk
from parallel_mcmc.store.shards import shard_folders


def move_a(position, z):
    return {**position, "a": 0.5 * position["b"] + z}


def move_b(position, z):
    return {**position, "b": 0.3 * position["a"].sum() + z[0]}


def gibbs():
    return pmc.gibbs([move_a, move_b], lambda key: tuple(jax.random.normal(key, (2, 2))))


slow = pytest.mark.slow
CASES = [
    pytest.param(kernel, "sequential", 1, id="hmc, sequential, one chain"),
    pytest.param(kernel, "parallel", 3, id="hmc, parallel, three chains"),
    pytest.param(kernel, pmc.Shooting(2), 3, id="hmc, shooting, three chains"),
    pytest.param(gibbs, "sequential", 2, id="gibbs, sequential, two chains"),
    pytest.param(lambda: pmc.mclmc(logdensity, 2.0, 0.5), "sequential", 2, id="mclmc", marks=slow),
    pytest.param(lambda: pmc.mala(logdensity, 0.2), pmc.quasi_deer(), 2, id="deer", marks=slow),
    pytest.param(
        lambda: pmc.cycle([kernel(), pmc.rmh(logdensity, 0.5)]),
        "parallel",
        1,
        id="cycle",
        marks=slow,
    ),
    pytest.param(
        lambda: pmc.hmc(logdensity, 0.3, jnp.eye(3), pmc.UniformSteps(1, 4)),
        "parallel",
        2,
        id="jittered, dense metric",
        marks=slow,
    ),
]


@pytest.mark.parametrize(("make", "solver", "num_chains"), CASES)
def test_a_resumed_run_is_the_undisturbed_one(tmp_path, monkeypatch, make, solver, num_chains):
    change = {
        "kernel": make(),
        "solver": solver,
        "window": 8,
        "num_chains": num_chains,
        "initial_position": START if num_chains == 1 else several(num_chains),
    }
    whole = draw(tmp_path / "whole", **change)
    method = solver if isinstance(solver, pmc.Newton) else None
    for segments in (0, 1, 4):
        path = tmp_path / f"cut after {segments}"
        draw_and_crash(monkeypatch, path, segments, **change)
        drawn = [Manifest.read(part).drawn for part in shard_folders(path)]
        assert max(drawn) == segments * EVERY
        assert_same(pmc.resume(path, make(), solver=method, progress_bar=False), whole)


def test_a_checkpoint_does_not_change_the_draws(tmp_path):
    # By default the segments are the same with and without.
    assert_same(draw(tmp_path / "run", checkpoint_every=None), draw())


@pytest.mark.parametrize("measured", [False, pytest.param(True, marks=slow)])
def test_how_the_solver_was_chosen_is_kept(tmp_path, monkeypatch, measured):
    if measured:
        monkeypatch.setattr("parallel_mcmc.choice.cpu.SMALL_TRAFFIC", 0)
        monkeypatch.setattr("parallel_mcmc.choice.auto._remembered", OrderedDict())
    samples = draw(tmp_path / "run", solver="auto")
    assert (samples.stats.choice.sequential_seconds is not None) == measured
    assert "position" not in vars(samples)  # nothing was read
    again = pmc.resume(tmp_path / "run", kernel(), progress_bar=False)
    assert again.stats.choice == samples.stats.choice


def test_legacy_keys(tmp_path, monkeypatch):
    draw_and_crash(monkeypatch, tmp_path / "run", 2, key=jax.random.PRNGKey(3))
    assert_same(
        pmc.resume(tmp_path / "run", kernel(), progress_bar=False), draw(tmp_path / "whole")
    )


def test_a_finished_run_draws_nothing(tmp_path, monkeypatch):
    samples = draw(tmp_path / "run")
    before = Manifest.read(tmp_path / "run")
    monkeypatch.setattr(OnDisk, "record", lambda *_: pytest.fail("a segment was drawn"))
    assert_same(pmc.resume(tmp_path / "run", kernel(), progress_bar=False), samples)
    assert Manifest.read(tmp_path / "run") == before


def test_an_interrupt_tells_how_to_go_on(tmp_path, monkeypatch):
    path = tmp_path / "run"
    with pytest.warns(
        pmc.InterruptedWarning, match=r"after 32 of 70 draws; .*pmc.resume\('.*run', kernel\)"
    ):
        partial = draw_and_crash(monkeypatch, path, 2, KeyboardInterrupt)
    whole = draw()
    np.testing.assert_array_equal(partial.position["a"], whole.position["a"][:, :32])
    np.testing.assert_array_equal(partial.info.energy, whole.info.energy[:, :32])
    assert_same(pmc.resume(path, kernel(), progress_bar=False), draw(tmp_path / "whole"))


def test_an_interrupt_before_the_first_segment_is_one(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        draw_and_crash(monkeypatch, tmp_path / "run", 0, KeyboardInterrupt)


def test_an_existing_checkpoint_is_not_overwritten(tmp_path, monkeypatch):
    path = tmp_path / "run"
    draw_and_crash(monkeypatch, path, 2)
    before = Manifest.read(path)
    with pytest.raises(ValueError, match=r"checkpoint must be .* holds 32 of 70 draws. pmc.resume"):
        draw(path)
    assert Manifest.read(path) == before


def test_other_files_are_not_overwritten(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ValueError, match="checkpoint must be .* delete what is there"):
        draw(tmp_path)
    with pytest.raises(ValueError, match="checkpoint must be .* delete what is there"):
        draw(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "mine"


def test_folders_are_made_and_an_empty_one_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    assert draw(tmp_path / "empty").position["b"].shape == (1, DRAWS)
    assert draw(tmp_path / "some" / "where").position["b"].shape == (1, DRAWS)


def test_a_failed_start_leaves_nothing(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError("no space")

    monkeypatch.setattr(OnDisk, "write_start", fails)
    with pytest.raises(OSError, match="no space"):
        draw(tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "checkpoint must be a path", {"checkpoint": 3}),
        (ValueError, "checkpoint_every must be a positive", {"checkpoint_every": 0}),
        (ValueError, "left out without a checkpoint", {"checkpoint": None, "checkpoint_every": 5}),
    ],
)
def test_bad_arguments_of_sample(tmp_path, error, message, change):
    with pytest.raises(error, match=message):
        draw(tmp_path / "run", **change)


def test_a_segment_is_bounded_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LONGEST_SEGMENT", 30)
    begin(monkeypatch, tmp_path / "long", checkpoint_every=None, num_samples=100)
    assert Manifest.read(tmp_path / "long").segment_length == 30
    monkeypatch.setattr(run, "LARGEST_SEGMENT", 20 * 7 * 4)  # states of seven numbers
    begin(monkeypatch, tmp_path / "large", checkpoint_every=None, num_samples=100)
    assert Manifest.read(tmp_path / "large").segment_length == 20


def test_a_window_is_the_least_segment(tmp_path, monkeypatch):
    begin(monkeypatch, tmp_path / "run", solver="parallel", window=32)
    assert Manifest.read(tmp_path / "run").segment_length == 32
