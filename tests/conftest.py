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
