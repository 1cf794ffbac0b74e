import importlib.metadata
import importlib.resources
import os
import pathlib
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

import parallel_mcmc

ROOT = pathlib.Path(__file__).parents[1]
TINY = """
import jax, jax.numpy as jnp, pathlib, sys
import parallel_mcmc as pmc
assert pathlib.Path(pmc.__file__).is_relative_to(sys.prefix), pmc.__file__
kernel = pmc.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.5, None, 3)
arguments = jax.random.key(0), kernel, jnp.zeros(2), 50
solved, plain = (
    pmc.sample(*arguments, solver=solver, progress_bar=False)
    for solver in ("parallel", "sequential")
)
assert jnp.allclose(solved.position, plain.position, atol=1e-3)
print(pmc.__version__)
"""


def test_version_is_the_installed_one():
    assert importlib.metadata.version("parallel_mcmc") == parallel_mcmc.__version__


def test_core_imports_no_adapter_dependency():
    program = (
        "import sys, parallel_mcmc\n"
        "extra = {'numpyro', 'blackjax', 'arviz', 'matplotlib', 'xarray', 'zarr'}\n"
        "print(*extra & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert result.stdout.split() == []


def test_data_and_type_marker_are_shipped():
    package = importlib.resources.files("parallel_mcmc")
    for name in ["py.typed", "data/german_credit.csv"]:
        assert package.joinpath(name).is_file(), name


def run(*command, cwd):
    """Return what a command prints, outside the checkout and with no path of the tests."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Return the folder of the sdist and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.slow
def test_distributions_are_fit_for_an_index(distributions):
    files = sorted(distributions.iterdir())
    assert [path.name.split("-")[-1] for path in files] == [
        "any.whl",
        f"{parallel_mcmc.__version__}.tar.gz",
    ]
    out = run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=distributions)
    assert out.count("PASSED") == 2


@pytest.mark.slow
def test_wheel_has_the_package_alone(distributions):
    (wheel,) = distributions.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    version = parallel_mcmc.__version__
    assert folders == {"parallel_mcmc", f"parallel_mcmc-{version}.dist-info"}
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "parallel_mcmc").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("parallel_mcmc/")} == sources


@pytest.mark.slow
def test_sdist_has_what_the_tests_need_and_no_environment(distributions):
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    needed = ["tests", "benchmarks", "docs", "notebooks", "scripts", "mkdocs.yml", "Makefile"]
    for path in [*needed, "LICENSE", "CHANGELOG.md", "constraints"]:
        assert any(name == path or name.startswith(path + "/") for name in names), path
    hidden = {name.split("/")[0] for name in names if name.startswith(".")}
    assert hidden <= {".editorconfig", ".gitignore", ".pre-commit-config.yaml"}
    assert not any("__pycache__" in name for name in names)


@pytest.mark.slow
def test_wheel_runs_in_an_empty_environment(distributions, tmp_path):
    (wheel,) = distributions.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    bin = tmp_path / "venv" / "bin"
    run(bin / "python", "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    assert run(bin / "python", "-c", TINY, cwd=tmp_path).split() == [parallel_mcmc.__version__]
    model = ("--model", "eight-schools", "--chains", 1, "--warmup", 100, "--samples", 50)
    report = run(bin / "parallel-mcmc", "demo", *model, cwd=tmp_path)
    assert "mu" in report
    assert (tmp_path / "demo-output" / "posterior.nc").is_file()
