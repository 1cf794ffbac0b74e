import dataclasses
import json

import pytest

from parallel_mcmc.store.manifest import Manifest

MANIFEST = Manifest(
    num_chains=2,
    num_samples=70,
    segment_length=16,
    key={"impl": None, "words": [0, 1]},
    position={"array": ["float32", [2]]},
    solver="parallel",
    window=8,
    choice={"solver": "parallel"},
    settings={"kernel": "HMC"},
    environments=({"from_draw": 0},),
    segments=3,
    seconds=0.1 + 0.2,
)


def test_round_trip(tmp_path):
    MANIFEST.write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(("segments", "drawn"), [(0, 0), (3, 48), (5, 70)])
def test_draws_that_are_complete(segments, drawn):
    assert dataclasses.replace(MANIFEST, segments=segments).drawn == drawn


def test_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    MANIFEST.write(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        dataclasses.replace(MANIFEST, segments=4).write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: "",
        lambda text: text.replace('"segments": 3', '"segments": 4'),
        lambda text: "[]",
        lambda text: json.dumps({"format": "parallel_mcmc checkpoint", "format_version": 1}),
    ],
)
def test_damage_is_noticed(tmp_path, damage):
    MANIFEST.write(tmp_path)
    file = tmp_path / "manifest.json"
    file.write_text(damage(file.read_text()))
    with pytest.raises(ValueError, match=r"manifest\.json is damaged .*read with Zarr"):
        Manifest.read(tmp_path)


def test_another_format_is_named(tmp_path):
    MANIFEST.write(tmp_path)
    file = tmp_path / "manifest.json"
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ValueError, match="version 1, got 'parallel_mcmc checkpoint', version 2"):
        Manifest.read(tmp_path)
