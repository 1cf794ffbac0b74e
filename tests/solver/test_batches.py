import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.batches import BLOCK, block_length, for_each, in_blocks


@pytest.mark.parametrize("steps", [1, 511, 512, 1000, 1009, 4096, 65_536])
def test_blocks_are_near_the_usual_length(steps):
    length = block_length(steps)
    if steps < 2 * BLOCK:
        assert length == steps
    else:
        assert BLOCK // 2 <= length < 2 * BLOCK
        nearer = range(BLOCK - abs(length - BLOCK) + 1, BLOCK + abs(length - BLOCK))
        assert not [other for other in nearer if steps % other == 0]


@pytest.mark.parametrize("steps", [3, 600, 1000, 1009])
def test_blocks_give_what_one_batch_gives(steps):
    x = jnp.linspace(0, 3, steps)
    tree = {"a": x, "b": jnp.stack([x, -x], axis=1)}

    def function(x, tree):
        return jnp.sin(x) * tree["a"], tree["b"].sum()

    ours, theirs = in_blocks(function, x, tree), jax.vmap(function)(x, tree)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_cpu_makes_one_block_after_the_other():
    program = jax.jit(lambda x: in_blocks(jnp.sin, x)).lower(jnp.zeros(2048)).as_text()
    assert ("while" in program) == (jax.default_backend() == "cpu")


@pytest.mark.parametrize("count", [1, 3])
def test_products_have_a_leading_axis(count):
    matrix = jnp.arange(6.0).reshape(2, 3)
    vectors = jnp.arange(3.0 * count).reshape(count, 3)
    found = for_each(lambda v: matrix @ v, vectors)
    np.testing.assert_allclose(found, vectors @ matrix.T, rtol=1e-6)
