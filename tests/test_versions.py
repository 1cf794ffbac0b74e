import re
from importlib import metadata

import jax
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.cli import main, versions


def report(capsys):
    """Return the lines that the command prints, by their labels."""
    assert main(["versions"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines)


def test_versions_are_those_installed(capsys):
    rows = report(capsys)
    assert rows["parallel_mcmc"] == pmc.__version__
    for name in versions.DISTRIBUTIONS:
        assert rows[name] == metadata.version(name)


def test_devices_and_settings(capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_some_flag=1")
    monkeypatch.setenv("UNRELATED", "secret")
    rows = report(capsys)
    assert rows["devices"] == f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    assert rows["XLA_FLAGS"] == "--xla_some_flag=1"
    assert "UNRELATED" not in rows


@pytest.mark.parametrize("x64", [False, True])
def test_precision(capsys, monkeypatch, x64):
    monkeypatch.setattr(jax.config, "read", {"jax_enable_x64": x64}.get)
    assert report(capsys)["double precision"] == ("on" if x64 else "off")


def test_what_is_missing_is_said(capsys, monkeypatch):
    def devices():
        raise RuntimeError("no device found")

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setattr(versions, "DISTRIBUTIONS", ("no-such-distribution",))
    rows = report(capsys)
    assert rows["no-such-distribution"] == "not installed"
    assert rows["devices"] == "none: no device found"
