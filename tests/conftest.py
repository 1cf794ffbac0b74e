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
