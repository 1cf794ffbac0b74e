import json
import pathlib
import re
import runpy
import subprocess
import sys
import warnings

import arviz as az
import jax
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.cli import COMMANDS, comparison, main
from parallel_mcmc.kernels.chain import ChainStats
from parallel_mcmc.kernels.metropolis import TransitionInfo

REFERENCE = pathlib.Path(__file__).parent / "data"
FILES = ["posterior.nc", "trace.png", "convergence.png"]
TINY = ["demo", "--model=eight-schools", "--method=surrogate"]
TINY += ["--samples=8", "--warmup=10", "--chains=2"]
OPTIONS = """
    --model --kernel --chains --warmup --samples --seed --window --method --x64 --no-x64 --output
    --quiet --help
""".split()


def exit_of(argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    return stop.value.code


def row(output, label):
    """Return what the report says under a label."""
    return re.search(rf"^  {re.escape(label)} +(.*)$", output, re.MULTILINE).group(1)


@pytest.fixture
def one_method(monkeypatch):
    """Compile one method only, the smallest: that is where the time goes."""
    monkeypatch.setattr(comparison, "METHODS", {"surrogate": pmc.Newton(pmc.Surrogate())})


# Parsing.


def test_help_lists_the_commands(capsys):
    assert exit_of(["--help"]) == 0
    output = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^ +{name} +\w", output, re.MULTILINE)
    assert "--version" in output


def test_help_lists_every_option_and_its_default(capsys):
    assert exit_of(["demo", "--help"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    for option in OPTIONS:
        assert f"{option}" in output
    options = output[output.index("options:") :]
    assert options.count("(default: ") == len(OPTIONS) - 3
    assert set(re.findall(r"--[a-z0-9-]+", output)) == set(OPTIONS)


def test_version(capsys):
    assert exit_of(["--version"]) == 0
    assert capsys.readouterr().out.strip() == pmc.__version__


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["nope"], "invalid choice: 'nope'"),
        (["--nope", "demo"], "unknown argument: --nope"),
        (["demo", "--nope"], "unknown argument: --nope"),
        (["demo", "--sample", "5"], "unknown argument: --sample 5"),
        (["demo", "--kernel", "nuts"], "argument --kernel: invalid choice: 'nuts'"),
        (["demo", "--chains", "0"], "--chains: must be an integer of at least 1, got '0'"),
        (["demo", "--samples", "many"], "--samples: must be an integer of at least 4, got 'many'"),
        (["demo", "--seed", str(2**32)], "--seed: must be an integer of at least 0 and at most"),
        (["demo", "--window"], "argument --window: expected one argument"),
    ],
)
def test_wrong_arguments_give_one_line_and_status_2(capsys, argv, message):
    assert exit_of(argv) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert output.err.endswith("--help\n")
    assert not output.out


def test_output_must_be_a_directory(capsys, tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert exit_of([*TINY, f"--output={file}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--output: File exists" in error


def test_module_runs_the_command_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["__main__.py", "demo", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("parallel_mcmc", run_name="__main__")
    assert stop.value.code == 0
    assert "usage: python -m parallel_mcmc demo" in capsys.readouterr().out


def test_help_does_not_wait_for_the_adapters():
    code = "import sys, parallel_mcmc.cli; sys.exit('numpyro' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The command itself, as small as can be.


def test_demo(capsys, tmp_path, one_method):
    before = jax.config.read("jax_enable_x64")
    directory = tmp_path / "new" / "place"
    assert main([*TINY, f"--output={directory}"]) == 0
    assert jax.config.read("jax_enable_x64") == before

    output = capsys.readouterr().out
    for name in FILES:
        assert f"{directory / name}\n" in output
        assert (directory / name).stat().st_size > 1000
    assert row(output, "accept decisions") == "16 of 16 equal"
    assert float(row(output, "largest difference")) < 1e-6
    assert "2 chains of 8 draws, double precision" in output
    assert max(len(line) for line in output.splitlines()) <= 100

    data = az.from_netcdf(directory / "posterior.nc")
    assert data["posterior"]["tau"].dtype == np.float64
    assert data["posterior"]["tau"].shape == (2, 8)
    assert (data["posterior"]["tau"] > 0).all()
    assert data["posterior"]["theta"].dims == ("chain", "draw", "school")
    assert data["observed_data"]["y"].shape == (8,)
    assert (data["sample_stats"]["newton_iterations"] > 0).all()


@pytest.mark.slow
def test_quiet_prints_the_names_of_the_files(capsys, tmp_path, one_method):
    options = ["--quiet", "--no-x64", "--kernel=mala", "--chains=1", "--window=4"]
    assert main([*TINY, *options, f"--output={tmp_path}"]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [str(tmp_path / name) for name in FILES]
    assert not output.err
    data = az.from_netcdf(tmp_path / "posterior.nc")
    assert data["posterior"]["tau"].dtype == np.float32
    assert data["posterior"]["tau"].shape == (1, 8)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["german-credit", "eight-schools"])
def test_demo_at_its_defaults_agrees_with_nuts(capsys, tmp_path, model):
    assert main(["demo", f"--model={model}", f"--output={tmp_path}"]) == 0
    output = capsys.readouterr().out
    assert 1 <= float(row(output, "largest R-hat")) < 1.01
    assert row(output, "accept decisions") == "4,000 of 4,000 equal"
    assert float(row(output, "largest difference")) < 1e-6
    assert "not converged" not in output
    data = az.from_netcdf(tmp_path / "posterior.nc")
    assert not data["sample_stats"]["diverging"].any()
    reference = json.loads((REFERENCE / f"{model.replace('-', '_')}_nuts.json").read_text())
    assert set(data["posterior"].data_vars) == set(reference["variables"])
    for name, nuts in reference["variables"].items():
        summary = az.summary(data, var_names=[name], round_to="none").astype(float)
        assert (summary["r_hat"] < 1.01).all(), name
        # The standard errors of both runs are those of their autocorrelated draws.
        error = np.hypot(summary["mcse_mean"], np.ravel(nuts["mcse_mean"]))
        distance = np.abs(summary["mean"] - np.ravel(nuts["mean"])) / error
        assert len(distance) == np.size(nuts["mean"])
        assert (distance < 4).all(), (name, distance)


@pytest.mark.parametrize(
    "interruption",
    [KeyboardInterrupt(), pmc.InterruptedWarning("interrupted after 5 of 10 draws")],
)
def test_interrupted(capsys, tmp_path, monkeypatch, interruption):
    def compare(args):
        if isinstance(interruption, Warning):
            warnings.warn(interruption, stacklevel=1)
        raise interruption

    monkeypatch.setattr(comparison, "compare", compare)
    assert main([*TINY, f"--output={tmp_path}"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_unwritable_file(capsys, tmp_path, monkeypatch):
    def compare(args):
        raise PermissionError(13, "Permission denied", "posterior.nc")

    monkeypatch.setattr(comparison, "compare", compare)
    assert main([*TINY, f"--output={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Permission denied: 'posterior.nc'" in error


# The report's lines for what the small run does not show.


def samples(accepted, position, fallback=0):
    accepted = np.array(accepted)
    zero = np.zeros(accepted.shape)
    info = TransitionInfo(zero + 1, accepted, zero > 0, zero, zero, zero + 2e-7)
    chains = len(accepted)
    stats = ChainStats(
        converged=np.full(chains, not fallback),
        iterations=np.arange(3, 3 + chains),
        gradient_evaluations=np.full(chains, 24),
        residual=np.zeros(chains),
        fallback_steps=np.full(chains, fallback),
    )
    return pmc.Samples({"x": np.array(position)}, info, stats, None, zero)


def test_report_of_a_near_tie():
    ours = samples([[1, 1, 0, 1], [1, 1, 1, 1]], [[1.0, 2.0, 9.0, 9.0], [1.0, 2.0, 3.0, 4.0]])
    theirs = samples([[1, 1, 1, 1], [1, 1, 1, 1]], [[1.0, 2.0, 5.0, 5.0], [1.0, 2.5, 3.0, 4.0]])
    text = "\n".join(comparison._difference_lines(ours, theirs))
    assert row(text, "accept decisions") == "7 of 8 equal"
    assert row(text, "largest difference") == "5.0e-01 until then"
    assert "chain 0 from draw 2, |log accept rate - log u| = 2e-07" in text
    assert "both valid" in text


def test_report_of_what_did_not_converge():
    plain = samples(np.ones((2, 8)), np.zeros((2, 8)))
    text = "\n".join(comparison._solver_lines(samples(np.ones((2, 8)), np.zeros((2, 8)), 5), plain))
    assert row(text, "Newton iterations") == "3 to 4 a chain instead of 8 steps: 0.438 a draw"
    assert "finished 10 of 16 steps" in row(text, "not converged")
    assert "not converged" not in "\n".join(comparison._solver_lines(plain, plain))
