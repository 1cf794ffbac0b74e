import numpy as np
import pytest
from store_cases import (
    DRAWS,
    EVERY,
    START,
    assert_same,
    copy_of_a_run,
    draw,
    draw_and_crash,
    kernel,
)

import parallel_mcmc as pmc
from parallel_mcmc.store.manifest import Manifest
from parallel_mcmc.store.recorder import OnDisk


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def path(folder, tmp_path, monkeypatch):
    return copy_of_a_run(folder, tmp_path / "run", monkeypatch, 3)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-3])


def empty(file):
    file.write_bytes(b"")


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def remove(file):
    file.unlink()


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, remove])
def test_a_damaged_chunk_and_what_follows_are_drawn_again(tmp_path, path, damage):
    damage(path / "posterior" / "a" / "c.0.1.0")
    segments = []
    with pytest.MonkeyPatch.context() as patch:
        record = OnDisk.record
        patch.setattr(
            OnDisk, "record", lambda self, s: (segments.append(self.drawn), record(self, s))
        )
        with pytest.warns(
            pmc.CheckpointDamageWarning,
            match=r"posterior/a.*Of 48 draws the first 16 are whole; the rest are drawn again",
        ):
            samples = pmc.resume(path, kernel(), progress_bar=False)
    assert segments == [16, 32, 48, 64]
    assert_same(samples, draw(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("name", "chunk", "whole"),
    [
        ("info/is_accepted", "c.0.2", 2),
        ("info/is_divergent", "c.0.0", 0),  # nothing but fill values
        ("logdensity", "c.0.1", 1),
        ("stats/residual", "c.1.0", 1),
        ("state/logdensity_grad.a", "c.3.0.0", 2),
    ],
)
def test_every_array_is_verified(tmp_path, path, name, chunk, whole):
    (path / name / chunk).unlink()
    match = rf"{name}.* the first {whole * EVERY} are whole"
    with pytest.warns(pmc.CheckpointDamageWarning, match=match):
        samples = pmc.resume(path, kernel(), progress_bar=False)
    assert_same(samples, draw(tmp_path / "whole"))


def test_damage_of_a_finished_run_is_mended(tmp_path):
    draw(tmp_path / "run")
    truncate(tmp_path / "run" / "posterior" / "b" / "c.0.4")
    with pytest.warns(pmc.CheckpointDamageWarning, match="the first 64 are whole"):
        samples = pmc.resume(tmp_path / "run", kernel(), progress_bar=False)
    assert_same(samples, draw(tmp_path / "whole"))


def test_a_damaged_start_is_made_again_from_the_position(tmp_path, path):
    truncate(path / "state" / "logdensity" / "c.0.0")
    with pytest.raises(ValueError, match="initial_position must be given again.*state/logdensity"):
        pmc.resume(path, kernel(), progress_bar=False)
    samples = pmc.resume(path, kernel(), START, progress_bar=False)
    assert_same(samples, draw(tmp_path / "whole"))
    pmc.resume(path, kernel(), progress_bar=False)


def test_what_is_beyond_the_manifest_does_not_count(tmp_path, path):
    # As after a crash between the chunks and the manifest.
    for file in path.glob("*/*/c.0.3*"):
        truncate(file)
    later = path / "posterior" / "a" / "c.0.3.0"
    later.write_bytes(b"torn")
    assert Manifest.read(path).drawn == 3 * EVERY
    assert_same(pmc.resume(path, kernel(), progress_bar=False), draw(tmp_path / "whole"))


@pytest.mark.parametrize("torn", [0, 7, 14])
def test_a_disk_that_is_full_keeps_what_it_has(tmp_path, monkeypatch, torn):
    from parallel_mcmc.store.arrays import Arrays

    path, write, calls = tmp_path / "run", Arrays.write, []

    def full(self, values, index):
        calls.append(index)
        if len(calls) > 2:  # the start was written
            if len(calls) == 7:
                write(self, dict(list(values.items())[:torn]), index)
                raise OSError(28, "No space left on device")
        write(self, values, index)

    with monkeypatch.context() as patch:
        patch.setattr(Arrays, "write", full)
        with pytest.raises(OSError, match="No space left") as caught:
            draw(path)
    assert "holds the first 32 of 70 draws. pmc.resume(" in caught.value.__notes__[0]
    assert_same(pmc.resume(path, kernel(), progress_bar=False), draw(tmp_path / "whole"))


def test_an_interrupt_just_after_the_manifest_counts_the_segment(tmp_path, monkeypatch):
    write = Manifest.write

    def interrupted(manifest, folder):
        write(manifest, folder)
        if manifest.segments == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", interrupted)
        with pytest.warns(pmc.InterruptedWarning, match="after 48 of 70 draws"):
            samples = draw(tmp_path / "run")
    assert samples.position["b"].shape == (1, 48)
    assert Manifest.read(tmp_path / "run").drawn == 48


def test_time_adds_up(tmp_path, monkeypatch):
    draw_and_crash(monkeypatch, tmp_path / "run", 3)
    before = Manifest.read(tmp_path / "run").seconds
    assert before > 0
    samples = pmc.resume(tmp_path / "run", kernel(), progress_bar=False)
    assert samples.sampling_time > before
    assert np.shape(samples.position["b"]) == (1, DRAWS)
