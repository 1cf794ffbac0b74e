"""Runs of one process that draws its chains one by one: each of them has a shard."""

import contextlib
import types

import jax
import numpy as np
import pytest
import store_cases

import parallel_mcmc as pmc
from parallel_mcmc.store import shards
from parallel_mcmc.store.recorder import OnDisk

CHAINS = 3
SEGMENTS = 5


def parallel(path=None, **change):
    """Draw three chains, each of them by itself."""
    many = {"num_chains": CHAINS, "initial_position": store_cases.several(CHAINS)}
    return store_cases.draw(path, solver="parallel", window=8, **many, **change)


def resume(path, *arguments, **options):
    return pmc.resume(path, store_cases.kernel(), *arguments, progress_bar=False, **options)


def segments_of(path):
    return [shards.Manifest.read(part).segments for part in shards.shard_folders(path)]


@contextlib.contextmanager
def recorded(slow=None, error=None):
    """Note which chain is recorded; ``slow`` is by the clock, and ``error`` meets its third."""
    order, now, record = [], [0.0], OnDisk.record

    def noted(recorder, segment):
        chain = recorder.manifest.first_chain
        if error is not None and chain == slow and recorder.manifest.segments == 2:
            raise error
        record(recorder, segment)
        order.append(chain)
        now[0] += 100.0 if chain == slow else 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnDisk, "record", noted)
        clock = types.SimpleNamespace(perf_counter=lambda: now[0])
        patch.setattr("parallel_mcmc.segments.time", clock)
        yield order


@pytest.fixture(scope="module")
def whole_of_three(tmp_path_factory):
    return parallel(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def cut(tmp_path):
    """A run that was interrupted while the slow second chain was drawn."""
    path = tmp_path / "run"
    match = r"after 32 of 70 draws; .*pmc.resume\('.*/run', kernel\) draws the rest"
    with (
        recorded(slow=1, error=KeyboardInterrupt),
        pytest.warns(pmc.InterruptedWarning, match=match),
    ):
        partial = parallel(path)
    return path, partial


def test_a_slow_chain_does_not_keep_the_others_from_being_stored(cut, whole_of_three):
    path, partial = cut
    assert segments_of(path) == [SEGMENTS, 2, SEGMENTS]
    assert repr(partial) == f"<32 of 70 draws of 3 chains in '{path}'>"
    np.testing.assert_array_equal(partial.position["a"], whole_of_three.position["a"][:, :32])
    # What every chain has can be read together, and of one chain all that it has.
    assert pmc.store.open_draws(path).sizes["draw"] == 32
    alone = pmc.store.open_draws(shards.shard_folders(path)[2])
    np.testing.assert_array_equal(alone["a"][0], whole_of_three.position["a"][2])
    assert alone["chain"] == 2


def test_each_chain_goes_on_from_where_it_is(cut, whole_of_three):
    path, _ = cut
    with recorded() as order:
        samples = resume(path)
    assert order == [1, 1, 1]
    store_cases.assert_same(samples, whole_of_three)
    with recorded() as order:
        store_cases.assert_same(resume(path, store_cases.several(CHAINS)), whole_of_three)
    assert order == []


def test_damage_of_one_chain_is_drawn_again_in_that_one_alone(tmp_path, whole_of_three):
    path = tmp_path / "run"
    parallel(path)
    (path / "shard-00002" / "posterior" / "a" / "c.0.3.0").unlink()
    match = "shard-00002/posterior/a.*Of 70 draws the first 48 are whole"
    with recorded() as order, pytest.warns(pmc.CheckpointDamageWarning, match=match):
        samples = resume(path)
    assert order == [2, 2]
    store_cases.assert_same(samples, whole_of_three)


def test_a_damaged_start_of_one_chain_is_made_again(cut, whole_of_three):
    path, _ = cut
    (path / "shard-00001" / "state" / "logdensity" / "c.0.0").unlink()
    with pytest.raises(ValueError, match="initial_position must be given again.*shard-00001"):
        resume(path)
    start = store_cases.several(CHAINS)
    with pytest.raises(pmc.CheckpointMismatchError, match=r"initial state.position\['b'\]\[2\]"):
        resume(path, start | {"b": start["b"].at[2].add(1)})
    store_cases.assert_same(resume(path, start), whole_of_three)
    store_cases.assert_same(resume(path), whole_of_three)


def test_another_environment_is_noted_for_every_chain(cut, monkeypatch):
    path, _ = cut
    monkeypatch.setattr(jax, "__version__", "0.0.0")
    with pytest.raises(pmc.CheckpointMismatchError, match="jax: "):
        resume(path)
    resume(path, accept_environment=True)
    runs = [shards.Manifest.read(part) for part in shards.shard_folders(path)]
    assert [run.environments[-1]["from_draw"] for run in runs] == [70, 32, 70]
    resume(path)


def test_one_chain_of_several_is_not_a_run(cut):
    with pytest.raises(
        ValueError, match="path must be that of the whole run, '.*/run', got one of"
    ):
        resume(cut[0] / "shard-00001")


def test_a_run_of_several_chains_is_not_overwritten(cut):
    with pytest.raises(ValueError, match="holds 32 of 70 draws. pmc.resume"):
        parallel(cut[0])


def test_a_full_disk_tells_how_to_go_on_with_all_chains(tmp_path):
    path = tmp_path / "run"
    write = shards.Manifest.write

    def full(manifest, folder):
        if manifest.segments == 2 and manifest.first_chain == 1:
            raise OSError(28, "No space left on device")
        write(manifest, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards.Manifest, "write", full)
        with pytest.raises(OSError, match="No space left") as caught:
            parallel(path)
    (note,) = caught.value.__notes__
    assert "shard-00001 holds the first 16 of 70 draws" in note
    assert f"pmc.resume({str(path)!r}, kernel)" in note


def test_a_start_that_fails_leaves_no_shard(tmp_path, monkeypatch):
    write = shards.Manifest.write

    def fails(manifest, folder):
        if manifest.first_chain == 1:
            raise OSError("no space")
        write(manifest, folder)

    monkeypatch.setattr(shards.Manifest, "write", fails)
    with pytest.raises(OSError, match="no space"):
        parallel(tmp_path / "run")
    assert not list(tmp_path.iterdir())
