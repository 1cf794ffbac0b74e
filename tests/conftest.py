import importlib.util
import pathlib
import subprocess
import sys

import jax
import pytest


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
