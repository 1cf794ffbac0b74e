"""Pytree helpers shared by every layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.core import Tracer

T = TypeVar("T", bound=type)
PyTree = Any


STATIC = {"static": True}
"""Metadata of a dataclass field that is part of the pytree's structure, not a leaf."""


def pytree(cls: T) -> T:
    """Register a frozen dataclass as a pytree whose fields, but for ``STATIC`` ones, are leaves.

    Numbers held by such an object are traced, so that a new step size or a new damping factor
    reuses the compiled code.
    """
    leaves, static = [], []
    for field in dataclasses.fields(cls):
        (static if field.metadata.get("static") else leaves).append(field.name)

    def metadata(obj: Any) -> tuple:
        # The class is part of the structure. `jax.tree_util.register_dataclass` leaves it out of
        # the comparison, and jit then takes two classes with like fields for one another.
        return (cls, *(getattr(obj, name) for name in static))

    def flatten_with_keys(obj: Any) -> tuple:
        keyed = [(jax.tree_util.GetAttrKey(name), getattr(obj, name)) for name in leaves]
        return keyed, metadata(obj)

    def flatten(obj: Any) -> tuple:
        return [getattr(obj, name) for name in leaves], metadata(obj)

    def unflatten(data: tuple, children: Any) -> Any:
        # Not through __init__, whose checks are for the user's values and not for tracers.
        obj = object.__new__(cls)
        values = dict(zip(static, data[1:], strict=True)) | dict(zip(leaves, children, strict=True))
        for name, value in values.items():
            object.__setattr__(obj, name, value)
        return obj

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def dotted_name(path: tuple) -> str:
    """Return the path of a leaf as a name: ``"a.b"``, or nothing for a bare array."""
    # A slash would make a group of a netCDF file or of a Zarr store.
    return jax.tree_util.keystr(path, simple=True, separator=".").replace("/", ".")


def variable_names(position: PyTree) -> list[str]:
    """Return a name for every leaf of a position: a bare array is ``"x"``, items are ``"x.0"``.

    Raises
    ------
    ValueError
        If two leaves would have one name.
    """
    names: list[str] = []
    for path, _ in jax.tree_util.tree_leaves_with_path(position):
        name = dotted_name(path)
        if not name or name[0].isdigit():
            name = f"x.{name}" if name else "x"
        if name in names:
            raise ValueError(f"position must give every variable a name of its own, got {name!r}")
        names.append(name)
    return names


def as_partial(fn: Callable) -> jax.tree_util.Partial:
    """Return ``fn`` as a pytree: data bound by :class:`jax.tree_util.Partial` become leaves.

    A plain function has no leaves and is compared by identity, so the same function object never
    compiles twice.
    """
    return fn if isinstance(fn, jax.tree_util.Partial) else jax.tree_util.Partial(fn)


def num_steps(inputs: PyTree) -> int:
    """Return the common length of the leading axis of ``inputs``."""
    return jnp.shape(jax.tree.leaves(inputs)[0])[0]


def at(tree: PyTree, index: jax.Array | int | slice) -> PyTree:
    """Return entry ``index``, or a slice, of the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def part(tree: PyTree, rows: slice) -> PyTree:
    """Return a slice of the leading axis; where that is all of it, the tree itself and no copy."""
    return tree if rows == slice(0, num_steps(tree)) else at(tree, rows)


def preceding(first: PyTree, states: PyTree) -> PyTree:
    """Return what comes before each of ``states`` along their leading axis; at first, ``first``."""
    return jax.tree.map(
        lambda s, leaf: jnp.concatenate([jnp.asarray(s)[None], leaf[:-1]]), first, states
    )


def repeated(tree: PyTree, count: int) -> PyTree:
    """Return ``count`` copies of ``tree`` along a new leading axis."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), tree)


def select(mask: jax.Array, on_true: PyTree, on_false: PyTree) -> PyTree:
    """Choose between two pytrees along their leading axes.

    Parameters
    ----------
    mask
        Boolean array, shape ``(n, ...)``: the leading axes of every leaf.
    """

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        extra = (1,) * (jnp.ndim(a) - mask.ndim)
        return jnp.where(mask.reshape(mask.shape + extra), a, b)

    return jax.tree.map(pick, on_true, on_false)


def all_finite(tree: PyTree) -> jax.Array:
    """Whether every floating-point number of ``tree`` is finite, scalar bool."""
    flags = [
        jnp.isfinite(leaf).all()
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    ]
    return jnp.stack(flags).all() if flags else jnp.array(True)


def signature(*trees: PyTree) -> Hashable:
    """Return what tells pytrees apart, but for the numbers in them: structure, shapes and dtypes.

    Functions among the leaves are told apart by themselves.
    """
    leaves, structure = jax.tree.flatten(trees)
    return structure, tuple(
        leaf if callable(leaf) else (jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves
    )


def any_traced(*trees: PyTree) -> bool:
    """Whether a leaf is an abstract value, so that its numbers cannot be looked at."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))
