import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.scans import block_apply, block_scan, dense_scan, diagonal_scan

# The scan that the device chooses, and the one of little depth.
SCANS = [None, jax.lax.associative_scan]


def loop(apply, a, b):
    def body(z, ab):
        z = apply(ab[0], z) + ab[1]
        return z, z

    return jax.lax.scan(body, jnp.zeros_like(b[0]), (a, b))[1]


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("length", [1, 2, 13, 64])
def test_diagonal_scan_equals_the_loop(x64, length, scan):
    rng = np.random.default_rng(length)
    a, b = jnp.asarray(rng.normal(size=(2, length, 3)))
    np.testing.assert_allclose(diagonal_scan(a, b, scan), loop(jnp.multiply, a, b), rtol=1e-11)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("length", [1, 2, 13, 64])
def test_dense_scan_equals_the_loop(x64, length, scan):
    rng = np.random.default_rng(length)
    a = jnp.asarray(rng.normal(size=(length, 3, 3)) / 2)
    b = jnp.asarray(rng.normal(size=(length, 3)))
    expected = loop(jnp.matmul, a, b)
    np.testing.assert_allclose(dense_scan(a, b, scan), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("scan", SCANS)
def test_one_factor_a_step_is_broadcast(scan):
    b = jnp.ones((4, 2))
    actual = diagonal_scan(jnp.ones((4, 1)), b, scan)
    np.testing.assert_array_equal(actual, np.cumsum(b, axis=0))


def arguments(kind, lead=()):
    rng = np.random.default_rng(0)
    a, b = {
        diagonal_scan: ((30, 4), (30, 4)),
        dense_scan: ((30, 4, 4), (30, 4)),
        block_scan: ((30, 2, 2, 3), (30, 2, 3)),
    }[kind]
    return (jnp.asarray(0.4 * rng.normal(size=(*lead, *shape)), jnp.float32) for shape in (a, b))


KINDS = [diagonal_scan, dense_scan, block_scan]


@pytest.mark.parametrize("kind", KINDS)
def test_many_recurrences_and_derivatives_in_single_precision(kind):
    a, b = arguments(kind, (5,))

    def total(a, b, scan):
        return jnp.sum(jnp.sin(jax.vmap(lambda a, b: kind(a, b, scan))(a, b)))

    both = jax.value_and_grad(total, argnums=(0, 1))
    ours, theirs = both(a, b, None), both(a, b, jax.lax.associative_scan)
    for actual, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert actual.dtype == jnp.float32
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    tangents = [
        jax.jvp(lambda b: kind(a[0], b, scan), (b[0],), (b[1],))[1]  # noqa: B023
        for scan in SCANS
    ]
    np.testing.assert_allclose(*tangents, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cpu_runs_the_loop_and_an_accelerator_has_little_depth(kind):
    traced = jax.jit(kind).trace(*arguments(kind))
    for platform, loops in (("cpu", 1), ("cuda", 0), ("tpu", 0)):
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        assert program.count("stablehlo.while") == loops


def test_what_the_first_map_does_is_not_asked():
    a = jnp.ones((3, 2, 2, 1)).at[0].set(7)
    b = jnp.arange(12.0).reshape(3, 2, 2)
    np.testing.assert_array_equal(block_scan(a, b)[0], b[0])
    np.testing.assert_array_equal(
        block_scan(a, b), loop(lambda m, v: block_apply(m[None], v[None])[0], a, b)
    )
