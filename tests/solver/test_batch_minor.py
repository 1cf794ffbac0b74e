import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.batch_minor import LEAST_BATCH, batch_minor

VECTORS = np.linspace(-1.0, 2.0, 64 * 3).reshape(64, 3)


def value(vector):
    return jnp.sin(vector[0]) * vector[1] + jnp.exp(vector[2])


def placed_value(vector):
    return value(batch_minor(vector))


TRANSFORMATIONS = {
    "vmap": jax.vmap,
    "vmap of grad": lambda f: jax.vmap(jax.grad(f)),
    "vmap of hessian": lambda f: jax.vmap(jax.hessian(f)),
    "vmap of jvp": lambda f: jax.vmap(lambda v: jax.jvp(f, (v,), (v,))[1]),
    "vmap of linear_transpose": lambda f: jax.vmap(
        lambda v: jax.linear_transpose(jax.linearize(f, v)[1], v)(1.0)[0]
    ),
    "grad of vmap": lambda f: jax.grad(lambda vectors: jax.vmap(f)(vectors).sum()),
    "jit": lambda f: jax.jit(jax.vmap(f)),
    "map": lambda f: lambda vectors: jax.lax.map(f, vectors),
    "map in blocks": lambda f: lambda vectors: jax.lax.map(f, vectors, batch_size=20),
    "vmap of vmap": lambda f: lambda vectors: jax.vmap(jax.vmap(f))(vectors.reshape(16, 4, 3)),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_no_transformation_gives_other_numbers(name):
    transformed = TRANSFORMATIONS[name]
    vectors = jnp.asarray(VECTORS, jnp.float32)
    placed = transformed(placed_value)(vectors)
    np.testing.assert_allclose(placed, transformed(value)(vectors), rtol=2e-6)


def layouts(function, *shape):
    """Return the orders in memory, slowest first, of all arrays of that shape."""
    program = jax.jit(function).lower(jnp.zeros(shape)).compile().as_text()
    found = re.findall(rf"f32\[{','.join(map(str, shape))}\]\{{([0-9,]+)", program)
    return {tuple(int(axis) for axis in reversed(order.split(","))) for order in found}


def twice(vector):
    return 2 * batch_minor(vector)


def test_a_cpu_has_the_same_entry_of_all_vectors_side_by_side():
    assert (1, 0) in layouts(jax.vmap(twice), LEAST_BATCH, 3)
    assert (2, 0, 1) in layouts(jax.vmap(jax.vmap(twice)), 20, LEAST_BATCH, 3)


def test_a_single_vector_and_a_small_batch_stay_as_they_are():
    assert layouts(twice, 3) == {(0,)}
    assert layouts(jax.vmap(twice), LEAST_BATCH - 1, 3) == {(0, 1)}
