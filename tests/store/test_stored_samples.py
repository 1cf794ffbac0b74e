import dataclasses

import numpy as np
import pytest
from store_cases import draw, draw_and_crash

import parallel_mcmc as pmc


def test_draws_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    samples = draw(tmp_path / "run")
    assert "position" not in vars(samples) and "info" not in vars(samples)
    assert samples.position["a"].shape == (1, 70, 2)
    assert samples.position is samples.position
    assert isinstance(samples, pmc.Samples)


def test_they_can_be_changed_like_others(tmp_path):
    samples = draw(tmp_path / "run")
    other = dataclasses.replace(samples, position=3)
    assert other.position == 3
    np.testing.assert_array_equal(other.logdensity, samples.logdensity)


def test_to_show_them_reads_nothing(tmp_path, monkeypatch):
    with pytest.warns(pmc.InterruptedWarning):
        samples = draw_and_crash(monkeypatch, tmp_path / "run", 2, KeyboardInterrupt)
    assert repr(samples) == f"<32 of 70 draws of 1 chains in '{tmp_path / 'run'}'>"
    assert "position" not in vars(samples)


def test_damage_is_told_with_the_remedy(tmp_path):
    samples = draw(tmp_path / "run")
    (tmp_path / "run" / "posterior" / "b" / "c.0.1").write_bytes(b"")
    with pytest.raises(OSError, match=r"posterior/b.*pmc\.resume\(.* draws again what is lost"):
        samples.position  # noqa: B018
    assert samples.logdensity.shape == (1, 70)
