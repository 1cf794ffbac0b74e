"""Digests of programs: whether two functions compute the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# A jaxpr shows the names of functions, and some functions by their address.
INCIDENTAL = re.compile(r" at 0x[0-9a-f]+|\bname=\S+")


def program_digest(fn: Callable, *args: Any) -> str:
    """Return a digest of what ``fn`` computes from arguments of these shapes and dtypes.

    It covers the text of the jaxpr, but for the names of functions, and every constant in it. It
    cannot cover what is not traced: the code behind a callback, or a custom derivative rule that
    the program does not use.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> same = [program_digest(lambda x: 2.0 * x, jnp.zeros(3)) for _ in range(2)]
    >>> same[0] == same[1] != program_digest(lambda x: 2.1 * x, jnp.zeros(3))
    True
    """
    closed = jax.make_jaxpr(fn)(*args)
    digest = hashlib.sha256(INCIDENTAL.sub("", str(closed.jaxpr)).encode())
    for constant in _constants(closed):
        if jnp.issubdtype(constant.dtype, jax.dtypes.prng_key):
            constant = jax.random.key_data(constant)
        array = np.ascontiguousarray(constant)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _constants(program: Any) -> Iterator[Any]:
    """Yield the arrays in a jaxpr and in those nested in it."""
    # It loads Pallas, a seventh of the time that importing this package takes.
    from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

    if isinstance(program, ClosedJaxpr):
        yield from program.consts
        program = program.jaxpr
    if isinstance(program, list | tuple):
        for item in program:
            yield from _constants(item)
    elif isinstance(program, Jaxpr):
        for equation in program.eqns:
            literals = [atom.val for atom in equation.invars if isinstance(atom, Literal)]
            yield from map(np.asarray, literals)
            yield from _constants(list(equation.params.values()))
