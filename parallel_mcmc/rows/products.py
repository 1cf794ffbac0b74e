"""Products of a matrix and a vector, turned round for batches of vectors.

It is the same product either way. Written with the matrix first, JAX's product with a batch has the
batch along its last axis, where all else has it along the first, and a CPU spends longer on putting
numbers from one order into the other than on the product. With the vectors first the batch comes
first.
"""

from __future__ import annotations

from typing import Any

import jax

COMPILED = ("jit", "pjit")
"""Primitives of functions within the function, that are looked into."""


ALGORITHMS = (jax.lax.DotAlgorithm, jax.lax.DotAlgorithmPreset)


def has_products(closed: Any) -> bool:
    """Whether a closed jaxpr has products of a matrix and a vector.

    Loops and branches are not looked into.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> has_products(jax.make_jaxpr(lambda q: q @ q)(jnp.ones(2)))
    False
    """
    return any(
        has_products(equation.params["jaxpr"])
        if equation.primitive.name in COMPILED
        else _is_product(equation)
        for equation in closed.jaxpr.eqns
    )


def vectors_first(closed: Any) -> Any:
    """Return a closed jaxpr that multiplies vectors by matrices, and not matrices by vectors.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> closed = jax.make_jaxpr(jnp.dot)(jnp.ones((5, 2)), jnp.ones(2))
    >>> [atom.aval.shape for atom in vectors_first(closed).eqns[-1].invars]
    [(2,), (5, 2)]
    """
    equations = []
    for equation in closed.jaxpr.eqns:
        if equation.primitive.name in COMPILED:
            called = vectors_first(equation.params["jaxpr"])
            equation = equation.replace(params=equation.params | {"jaxpr": called})
        elif _is_product(equation) and equation.invars[0].aval.ndim == 2:
            equation = _turned(equation)
        equations.append(equation)
    return closed.replace(jaxpr=closed.jaxpr.replace(eqns=equations))


def _is_product(equation: Any) -> bool:
    if equation.primitive.name != "dot_general":
        return False
    # These say which factor is rounded how.
    if isinstance(equation.params["precision"], ALGORITHMS):
        return False
    contracted, _ = equation.params["dimension_numbers"]
    return {atom.aval.ndim for atom in equation.invars} == {1, 2} and len(contracted[0]) == 1


def _turned(equation: Any) -> Any:
    """Return a product with its factors in the other order."""
    params = dict(equation.params)
    (left, right), batched = params["dimension_numbers"]
    params["dimension_numbers"] = (right, left), batched
    if isinstance(params["precision"], tuple):
        params["precision"] = params["precision"][::-1]
    return equation.replace(invars=equation.invars[::-1], params=params)
