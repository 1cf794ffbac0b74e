import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.store.programs import program_digest

DATA = np.arange(6.0).reshape(2, 3)


def model(data, scale=1.0, inner=jnp.tanh):
    data = jnp.asarray(data)

    @jax.jit
    def part(x):
        return inner(data @ x)

    def density(x):
        either = jax.lax.cond(x[0] > 0, lambda: jnp.sum(part(x)), lambda: jnp.sum(data))
        return either * scale + jax.nn.softplus(x[1])

    return density


def digest(density):
    return program_digest(density, jnp.zeros(3))


def test_the_same_code_has_the_same_digest():
    assert digest(model(DATA)) == digest(model(DATA.copy()))
    jax.clear_caches()
    assert digest(model(DATA)) == digest(model(DATA.copy()))


@pytest.mark.parametrize(
    "other",
    [
        model(DATA + np.eye(2, 3)),
        model(np.nextafter(DATA.astype(np.float32), 9)),
        model(DATA, scale=1.0 + 1e-6),
        model(DATA, inner=jnp.sin),
    ],
    ids=["data", "last bit of the data", "number", "function"],
)
def test_another_program_has_another_digest(other):
    assert digest(other) != digest(model(DATA))


def test_names_do_not_count():
    @jax.jit
    def one(x):
        return 2 * x

    @jax.jit
    def two(x):
        return 2 * x

    assert digest(one) == digest(two)


def test_another_process_finds_the_same_digest():
    program = (
        "import jax, jax.numpy as jnp\n"
        "from parallel_mcmc.store.programs import program_digest\n"
        "@jax.custom_vjp\n"
        "def f(x): return jnp.sum(jax.nn.softplus(x))\n"
        "f.defvjp(lambda x: (f(x), x), lambda x, g: (g * x,))\n"
        "print(program_digest(lambda x: f(jnp.arange(3.0) * x), jnp.zeros(3)))"
    )
    command = [sys.executable, "-c", program]
    runs = [
        subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)
    ]
    assert runs[0] == runs[1] and len(runs[0].strip()) == 64
