"""The arguments of a model: what is data of compiled code, and what is compiled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._tree import STATIC, pytree


@dataclasses.dataclass(frozen=True)
class Constant:
    """An argument that is compiled in."""

    value: Any = dataclasses.field(compare=False)
    identity: Hashable
    """Equal for values that may share compiled code."""

    @classmethod
    def of(cls, value: Any) -> Constant:
        """Return ``value`` with its identity: type and value, or unique if it cannot be hashed."""
        try:
            hash(value)
        except TypeError:
            return cls(value, object())
        # The type as well: 1, 1.0 and True are equal.
        return cls(value, (type(value), value))


@pytree
@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of a model as a pytree: numeric arrays and floats are leaves, the rest static."""

    leaves: list[jax.Array]
    constants: tuple[Constant | None, ...] = dataclasses.field(metadata=STATIC)
    """One for every argument; None where the next leaf stands."""
    structure: Any = dataclasses.field(metadata=STATIC)

    @classmethod
    def of(cls, args: tuple, kwargs: dict, traced: bool = True) -> Arguments:
        """Return the arguments ``(args, kwargs)``; all are static if not ``traced``."""
        values, structure = jax.tree.flatten((args, kwargs))
        is_leaf = [traced and _is_numeric(value) for value in values]
        pairs = list(zip(values, is_leaf, strict=True))
        return cls(
            [jnp.asarray(value) for value, leaf in pairs if leaf],
            tuple(None if leaf else Constant.of(value) for value, leaf in pairs),
            structure,
        )

    def unpack(self) -> tuple[tuple, dict]:
        """Return ``(args, kwargs)``."""
        leaves = iter(self.leaves)
        values = [next(leaves) if c is None else c.value for c in self.constants]
        return jax.tree.unflatten(self.structure, values)

    def signature(self) -> Hashable:
        """Return what compiled code depends on: everything but the values of the leaves."""
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in self.leaves)
        return shapes, self.constants, self.structure

    @property
    def is_unique(self) -> bool:
        """Whether no other arguments can ever have this signature."""
        return any(c is not None and type(c.identity) is object for c in self.constants)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    return isinstance(value, jax.Array | float | np.floating)
