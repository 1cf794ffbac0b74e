import jax
import jax.numpy as jnp
import numpy as np
import pytest
import row_models
from jax.extend.core import jaxpr_as_fun
from jaxprs import equations_of

from parallel_mcmc.rows.arranged import arranged
from parallel_mcmc.rows.products import has_products, vectors_first

MATRIX = np.random.default_rng(0).normal(size=(5, 3))
VECTOR = np.random.default_rng(1).normal(size=3)


def factors(closed):
    """Return the shapes of the factors of every product."""
    return [
        tuple(atom.aval.shape for atom in equation.invars)
        for equation in equations_of(jaxpr_as_fun(closed), *closed.in_avals)
        if equation.primitive.name == "dot_general"
    ]


@pytest.mark.parametrize(
    "product",
    [
        lambda v: jnp.asarray(MATRIX) @ v,
        lambda v: v @ jnp.asarray(MATRIX).T,
        lambda v: jnp.asarray(MATRIX.T).T @ v,
        lambda v: jnp.einsum("ij,j->i", jnp.asarray(MATRIX), v),
        jax.jit(lambda v: jnp.asarray(MATRIX) @ v),
        lambda v: jnp.asarray(MATRIX) @ jnp.tanh(jnp.asarray(MATRIX[:3]) @ v),
        jax.grad(lambda v: jnp.sum(jnp.exp(jnp.asarray(MATRIX) @ v))),
    ],
    ids=["matrix", "vector", "transposed", "einsum", "jit", "several", "gradient"],
)
def test_vectors_are_first(product, x64):
    closed = jax.make_jaxpr(product)(VECTOR)
    assert has_products(closed)
    turned = vectors_first(closed)
    assert factors(turned)
    assert all(len(first) == 1 and len(second) == 2 for first, second in factors(turned))
    (found,) = jaxpr_as_fun(turned)(VECTOR)
    np.testing.assert_allclose(found, product(VECTOR), rtol=1e-13)


@pytest.mark.parametrize(
    "function",
    [
        lambda v: v @ v,
        lambda v: jnp.outer(v, v),
        lambda v: jnp.asarray(MATRIX) @ v[:, None],
        lambda v: jnp.asarray(MATRIX) * v,
        lambda v: jnp.tensordot(jnp.asarray(MATRIX[:3]), v[:, None] * v, 2),
        lambda v: jnp.dot(jnp.asarray(MATRIX), v, precision="F64_F64_F64"),
    ],
    ids=["inner", "outer", "column", "elementwise", "two axes", "algorithm"],
)
def test_what_is_no_product_of_a_matrix_and_a_vector_is_left(function, x64):
    closed = jax.make_jaxpr(function)(VECTOR)
    assert not has_products(closed)
    assert str(vectors_first(closed)) == str(closed)


def test_each_factor_keeps_its_precision(x64):
    def product(v):
        return jnp.dot(jnp.asarray(MATRIX), v, precision=("default", "highest"))

    turned = vectors_first(jax.make_jaxpr(product)(VECTOR))
    (precision,) = (
        equation.params["precision"]
        for equation in turned.eqns
        if equation.primitive.name == "dot_general"
    )
    assert precision == (jax.lax.Precision.HIGHEST, jax.lax.Precision.DEFAULT)


def moved(function, batch):
    """Return the shapes that are put into another order."""
    equations = equations_of(jax.vmap(function), batch)
    return [e.invars[0].aval.shape for e in equations if e.primitive.name == "transpose"]


def test_a_batch_is_not_put_into_another_order(x64):
    batch = np.random.default_rng(2).normal(size=(7, row_models.DIM))
    function = jax.value_and_grad(row_models.logistic)
    assert (row_models.ROWS, 7) in moved(function, batch)
    assert not moved(arranged(function), batch)
