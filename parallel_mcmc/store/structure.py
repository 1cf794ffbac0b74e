"""Structures of positions as JSON, and arrays of such a structure back from it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._tree import PyTree


def encode(tree: PyTree) -> Any:
    """Return the structure, shapes and dtypes of a tree as JSON.

    Dictionaries with names as keys, lists, tuples and None are spelled out; of any other node
    nothing but its description is kept, and :func:`decode` then needs an example.
    """
    if _is_plain(tree):
        return _encode(tree)
    return {"other": str(jax.tree.structure(tree)), "leaves": leaf_types(tree)}


def _is_plain(tree: PyTree) -> bool:
    if type(tree) is dict:
        return all(type(key) is str for key in tree) and all(map(_is_plain, tree.values()))
    if type(tree) in (list, tuple):
        return all(map(_is_plain, tree))
    return tree is None or hasattr(tree, "dtype")


def _encode(tree: PyTree) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {"dict": {key: _encode(tree[key]) for key in tree}}
    if isinstance(tree, list | tuple):
        return {type(tree).__name__: [_encode(item) for item in tree]}
    return {"array": [str(tree.dtype), list(tree.shape)]}


def decode(code: Any) -> PyTree:
    """Return what :func:`encode` encoded, with ``jax.ShapeDtypeStruct`` as leaves.

    Raises
    ------
    LookupError
        If the structure has nodes that the code does not spell out.
    """
    if code is None:
        return None
    if "dict" in code:
        return {key: decode(item) for key, item in code["dict"].items()}
    if "list" in code:
        return [decode(item) for item in code["list"]]
    if "tuple" in code:
        return tuple(decode(item) for item in code["tuple"])
    if "array" in code:
        dtype, shape = code["array"]
        return jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
    raise LookupError(code["other"])


def leaf_types(tree: PyTree) -> dict[str, str]:
    """Return dtype and shape of every leaf, by its path."""
    return {
        jax.tree_util.keystr(path): f"{np.dtype(leaf.dtype)} {tuple(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
