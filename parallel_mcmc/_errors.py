"""Checks of arguments, with messages that name the argument, what it was and what it may be."""

from __future__ import annotations

import pathlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._tree import PyTree, any_traced


class SequentialFallbackWarning(UserWarning):
    """The parallel iteration did not converge everywhere; the plain loop finished the chain."""


def require_positive_int(name: str, value: Any) -> int:
    """Return ``value`` as an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def require_positive(name: str, value: Any) -> Any:
    """Return ``value``, a positive and finite scalar; a traced value is not looked at."""
    if any_traced(value):
        return value
    if isinstance(value, bool | str) or jnp.shape(value) != ():
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value


def require_path(name: str, value: Any) -> pathlib.Path:
    """Return ``value``, a string or path, as a path."""
    try:
        return pathlib.Path(value)
    except TypeError as error:
        raise TypeError(f"{name} must be a path, got {type(value).__name__}: {value!r}") from error


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
    return jnp.asarray(value)


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
