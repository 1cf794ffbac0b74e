"""Checks of arguments, with messages that name the argument, what it was and what it may be."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._tree import PyTree, any_traced


class SequentialFallbackWarning(UserWarning):
    """The parallel iteration did not converge everywhere; the plain loop finished the chain."""


def require_positive_int(name: str, value: Any) -> int:
    """Return ``value`` as an int of at least 1."""
    if not is_int(value) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def require_int(name: str, value: Any) -> int:
    """Return ``value`` as an int."""
    if not is_int(value):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    return int(value)


def is_int(value: Any) -> bool:
    """Whether ``value`` is an integer, of Python or NumPy; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether ``value`` is one number, of Python or an array; True and False are none."""
    is_numeric = isinstance(value, int | float | np.ndarray | np.number | jax.Array)
    return is_numeric and not isinstance(value, bool) and jnp.shape(value) == ()


def require_positive(name: str, value: Any) -> Any:
    """Return ``value``, a positive and finite scalar; a traced value is not looked at."""
    if any_traced(value):
        return value
    if not is_number(value):
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value


def require_not_negative(name: str, value: Any) -> Any:
    """Return ``value``, a finite scalar of at least 0; a traced value is not looked at."""
    if any_traced(value):
        return value
    if not is_number(value):
        raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be at least 0 and finite, got {value}")
    return value


def require_path(name: str, value: Any) -> pathlib.Path:
    """Return ``value``, a string or path, as a path."""
    try:
        return pathlib.Path(value)
    except TypeError as error:
        raise TypeError(f"{name} must be a path, got {type(value).__name__}: {value!r}") from error


def require_at_most(name: str, value: Any, largest: float) -> Any:
    """Return ``value``, a positive number of at most ``largest``; a traced one is not looked at."""
    if not any_traced(require_positive(name, value)) and value > largest:
        raise ValueError(f"{name} must be at most {largest}, got {value}")
    return value


def require_flag(name: str, value: Any) -> bool:
    """Return ``value``, which must be True or False: text such as "no" would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}: {value!r}")
    return bool(value)


def require_object(name: str, value: Any, methods: tuple[str, ...], accepted: str) -> None:
    """Raise if ``value`` lacks one of ``methods``, or is a class where an instance is wanted."""
    if isinstance(value, type) or not all(callable(getattr(value, m, None)) for m in methods):
        raise TypeError(f"{name} must be {accepted}, got {type(value).__name__}: {value!r}")


def require_sequence(name: str, value: Any) -> tuple:
    """Return ``value``, a list or tuple, as a tuple."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} must be a list or tuple, got {type(value).__name__}: {value!r}")
    return tuple(value)


def require_mapping(name: str, value: Any) -> None:
    """Raise if ``value`` is neither None nor a mapping."""
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(
            f"{name} must be a dictionary by name, got {type(value).__name__}: {value!r}"
        )


def require_arrays(name: str, tree: PyTree) -> PyTree:
    """Return ``tree`` with arrays for leaves."""

    def array(path: tuple, leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array):
            return leaf
        try:
            # JAX may take a text for the name of a dtype.
            if not isinstance(leaf, str | bytes):
                return jnp.asarray(leaf)
        except TypeError as error:
            raise TypeError(wrong(path, leaf)) from error
        raise TypeError(wrong(path, leaf))

    # Only where it is needed: the text of an array takes milliseconds.
    def wrong(path: tuple, leaf: Any) -> str:
        return (
            f"{name}{jax.tree_util.keystr(path)} must be an array or a number, got "
            f"{type(leaf).__name__}: {leaf!r}"
        )

    return jax.tree_util.tree_map_with_path(array, tree)


def require_callable(name: str, value: Any) -> None:
    """Raise if ``value`` cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {type(value).__name__}")


def require_key(name: str, value: Any) -> jax.Array:
    """Return ``value``, one key of ``jax.random.key`` or a legacy ``jax.random.PRNGKey``."""
    accepted = "a key of jax.random.key(seed) or jax.random.PRNGKey(seed)"
    if not isinstance(value, jax.Array | np.ndarray):
        raise TypeError(f"{name} must be {accepted}, got {type(value).__name__}: {value!r}")
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        if value.shape != ():
            raise TypeError(f"{name} must be {accepted}, got an array of {value.shape} keys")
    elif value.dtype != np.uint32 or value.shape != jax.random.key_data(jax.random.key(0)).shape:
        raise TypeError(
            f"{name} must be {accepted}, got an array of dtype {value.dtype} and shape "
            f"{value.shape}"
        )
    return value if isinstance(value, jax.Array) else jnp.asarray(value)


def require_finite(name: str, tree: PyTree) -> None:
    """Raise if a floating-point leaf holds a non-finite number; traced leaves are not looked at."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if any_traced(leaf) or not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            continue
        bad = int(np.sum(~np.isfinite(leaf)))
        if bad:
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} must be finite, got {bad} non-finite "
                f"of {np.size(leaf)} entries"
            )


def require_like(name: str, value: PyTree, example: PyTree, described_as: str) -> None:
    """Raise if ``value`` differs from ``example`` in structure, shape or dtype."""
    ours, theirs = jax.tree.structure(value), jax.tree.structure(example)
    if ours != theirs:
        raise ValueError(f"{name} must have the structure of {described_as}, {theirs}, got {ours}")
    leaves = zip(jax.tree_util.tree_leaves_with_path(value), jax.tree.leaves(example), strict=True)
    for (path, leaf), wanted in leaves:
        same_shape = jnp.shape(leaf) == jnp.shape(wanted)
        if not same_shape or jnp.result_type(leaf) != jnp.result_type(wanted):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} must have the shape and dtype of "
                f"{described_as}, {jnp.shape(wanted)} {jnp.result_type(wanted)}, got "
                f"{jnp.shape(leaf)} {jnp.result_type(leaf)}"
            )


def warn_fallback(steps: int, total: int, iterations: int, exponent: float | None = None) -> None:
    """Warn that the plain loop finished ``steps`` of ``total`` steps.

    ``exponent`` is the largest Lyapunov exponent, where known: a positive one is the reason.
    """
    if steps:
        advice = (
            f"The recurrence is chaotic, with a largest Lyapunov exponent of about {exponent:.2g} "
            "a step: no parallel method pays"
            if exponent is not None and exponent > 0
            else "Try another method or metric, a smaller window or step size, or "
            'solver="sequential"'
        )
        warnings.warn(
            f"the parallel iteration did not converge: after {iterations} iterations the "
            f"sequential loop finished {steps} of {total} steps ({steps / total:.1%}). The states "
            f"are right, but time was lost. {advice}",
            SequentialFallbackWarning,
            stacklevel=3,
        )
