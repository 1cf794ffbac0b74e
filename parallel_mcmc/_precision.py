"""Products of matrices in what a user's function computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Have JAX keep all digits in products of matrices, unless its configuration says otherwise.

    By default a GPU or TPU rounds the factors in single precision to ten bits or fewer, in a batch
    not as it does one by one. The steps of a chain then depend on which of them are evaluated
    together, and the parallel solver has nothing to converge to. ``jax_default_matmul_precision``,
    or the context manager of that name, takes precedence.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> @full_precision()
    ... def product(x):
    ...     return x @ x
    >>> "HIGHEST" in str(jax.make_jaxpr(product)(jnp.eye(2)))
    True
    """
    chosen = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    if chosen is None:
        with jax.default_matmul_precision("highest"):
            yield
    else:
        yield
