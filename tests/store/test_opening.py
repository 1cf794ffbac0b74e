import arviz as az
import numpy as np
import pytest
from store_cases import draw, draw_and_crash, several

from parallel_mcmc.store import open_draws


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    return path, draw(path, num_chains=3, initial_position=several(3))


def test_draws_have_the_names_and_dimensions_of_arviz(run):
    path, samples = run
    draws, posterior = open_draws(path), samples.to_arviz()["posterior"]
    for name in ("a", "b"):
        assert draws[name].dims == posterior[name].dims
        assert draws[name].dtype == posterior[name].dtype
        np.testing.assert_array_equal(draws[name], posterior[name])
        np.testing.assert_array_equal(draws[name].draw, posterior[name].draw)
    np.testing.assert_array_equal(open_draws(path, "info")["energy"], samples.info.energy)


def test_arviz_takes_them(run):
    path, samples = run
    table = az.summary(open_draws(path))
    assert set(table.index) == {"a[0]", "a[1]", "b"}
    # ArviZ 1 rounds to two digits, and has them as text.
    assert float(table.loc["b", "mean"]) == pytest.approx(samples.position["b"].mean(), abs=0.01)


def test_only_what_is_used_is_read(run):
    path, samples = run
    draws, first = open_draws(path), samples.position["b"][:, :32]
    # The third of five segments is damaged; the others can be read.
    (path / "posterior" / "b" / "c.0.2").write_bytes(b"")
    np.testing.assert_array_equal(draws["b"][:, :32], first)
    with pytest.raises(ValueError, match="checksum"):
        draws["b"].load()


def test_only_complete_segments_are_there(tmp_path, monkeypatch):
    draw_and_crash(monkeypatch, tmp_path / "run", 2)
    assert open_draws(tmp_path / "run").sizes["draw"] == 32
    assert np.isfinite(open_draws(tmp_path / "run")["a"]).all()


def test_bad_arguments(run, tmp_path):
    with pytest.raises(ValueError, match=r"group must be one of .*got 'stats'"):
        open_draws(run[0], "stats")
    with pytest.raises(TypeError, match="path must be a path, got NoneType"):
        open_draws(None)
    with pytest.raises(ValueError, match="path must be a checkpoint"):
        open_draws(tmp_path)
