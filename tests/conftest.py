import importlib.util
import os
import pathlib
import subprocess
import sys
import warnings

import jax
import pytest

QUICKLY_COMPILED = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):
    # Later ones have only the emitters that take three times as long.
    QUICKLY_COMPILED += " --xla_cpu_use_fusion_emitters=false"


def pytest_configure(config):
    """Have the fast tests compiled quickly: of their time, three quarters went there.

    The slow tests, and what they are run with, are compiled as users have it; so are all where
    ``XLA_FLAGS`` is set, even to nothing.
    """
    if config.option.markexpr == "not slow":
        os.environ.setdefault("XLA_FLAGS", QUICKLY_COMPILED)
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        # ArviZ writes a file at the first import of a day, and two workers that do so at once fail.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            importlib.import_module("arviz")


def _double_precision():
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    # JAX < 0.8
    from jax.experimental import enable_x64

    return enable_x64()


@pytest.fixture
def x64():
    """Run the test in double precision; JAX's default is single."""
    with _double_precision():
        yield


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_are_dropped():
    """Free a module's compiled programs: each holds memory maps, and a process may have 65,530.

    The whole suite in one process needs more, and XLA then crashes in the middle of a compilation.
    """
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Build the site, and return its folder."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("needs mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    subprocess.run(command, cwd=pathlib.Path(__file__).parents[1], check=True)
    return folder
