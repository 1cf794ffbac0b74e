"""What a step does, read from its jaxpr: which parts of a state evolve by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from parallel_mcmc._tree import PyTree
from parallel_mcmc.solver.chart import is_real

Leaves = frozenset[int]
"""Numbers of leaves of the state."""


def independent_leaves(
    step: Callable[..., tuple[PyTree, PyTree]], key: jax.Array, state: PyTree
) -> tuple[bool, ...] | None:
    """Tell which leaves of the state need no other leaves to evolve, such as counters and keys.

    Floating-point leaves are not looked for: the solver corrects those.

    Returns
    -------
    One flag a leaf, in the order of ``jax.tree.leaves(state)``; None if the step has side effects.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> def step(key, state):
    ...     x, n, m = state
    ...     return (x + n, n + 1, m + n + (x > 0)), None
    >>> independent_leaves(step, jax.random.key(0), (jnp.zeros(2), 0, jnp.zeros(2, int)))
    (False, True, False)
    """
    leaves, treedef = jax.tree.flatten(state)

    def next_leaves(key: jax.Array, *leaves: Any) -> list:
        return jax.tree.leaves(step(key, treedef.unflatten(leaves))[0])

    closed = jax.make_jaxpr(next_leaves)(key, *leaves)
    if closed.effects:
        return None
    sources = [frozenset[int](), *(frozenset([i]) for i in range(len(leaves)))]
    needs = _dependence(closed.jaxpr, sources)
    alone = {i for i, leaf in enumerate(leaves) if not is_real(leaf)}
    while dependent := {i for i in alone if not needs[i] <= alone}:
        alone -= dependent
    return tuple(i in alone for i in range(len(leaves)))


def read_leaves(function: Callable[..., PyTree], *arguments: PyTree) -> tuple[bool, ...]:
    """Tell which leaves of the arguments the result of a function depends on.

    Returns
    -------
    One flag a leaf, in the order of ``jax.tree.leaves(arguments)``; all true if the function has
    side effects.

    Examples
    --------
    >>> read_leaves(lambda x, pair: x + pair[1], 1.0, (2.0, 3.0))
    (True, False, True)
    """
    leaves, treedef = jax.tree.flatten(arguments)

    def results(*leaves: Any) -> list:
        return jax.tree.leaves(function(*treedef.unflatten(leaves)))

    closed = jax.make_jaxpr(results)(*leaves)
    sources = [frozenset([i]) for i in range(len(leaves))]
    read = frozenset[int]().union(*_dependence(closed.jaxpr, sources))
    return tuple(bool(closed.effects) or i in read for i in range(len(leaves)))


def _dependence(jaxpr: Any, sources: Sequence[Leaves]) -> list[Leaves]:
    """Return the leaves that each output depends on, given those of each input."""
    known: dict[Any, Leaves] = dict(zip(jaxpr.invars, sources, strict=True))

    def of(variable: Any) -> Leaves:
        # Literals are not hashable, and depend on nothing.
        return frozenset() if hasattr(variable, "val") else known.get(variable, frozenset())

    for equation in jaxpr.eqns:
        inputs = [of(variable) for variable in equation.invars]
        inner = equation.params.get("jaxpr")
        if equation.primitive.name in ("jit", "pjit") and inner is not None:
            outputs = _dependence(inner.jaxpr, inputs)
        else:
            outputs = [frozenset[int]().union(*inputs)] * len(equation.outvars)
        known.update(zip(equation.outvars, outputs, strict=True))
    return [of(variable) for variable in jaxpr.outvars]


def primitives_of(jaxpr: Any) -> set[str]:
    """Return the names of the primitives in a jaxpr, those inside of others included.

    Examples
    --------
    >>> sorted(primitives_of(jax.make_jaxpr(lambda x: jax.lax.sin(x) + x)(0.0).jaxpr))
    ['add', 'sin']
    """
    names = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_holds_equations):
            if _holds_equations(value):
                names |= primitives_of(value)
    return names


def _holds_equations(value: Any) -> bool:
    return hasattr(value, "eqns")
