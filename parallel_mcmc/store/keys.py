"""Random keys as JSON."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def encode(key: jax.Array) -> dict[str, Any]:
    """Return a key, of ``jax.random.key`` or ``jax.random.PRNGKey``, as JSON."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        words, impl = jax.random.key_data(key), str(jax.random.key_impl(key))
    else:
        words, impl = key, None
    return {"impl": impl, "words": np.asarray(words).tolist()}


def decode(code: dict[str, Any]) -> jax.Array:
    """Return the key that :func:`encode` encoded."""
    words = jnp.asarray(np.array(code["words"], np.uint32))
    return words if code["impl"] is None else jax.random.wrap_key_data(words, impl=code["impl"])
