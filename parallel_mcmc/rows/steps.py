"""The equations of a function, one after the other, those of the functions it calls among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """What an equation takes or returns; compared by identity."""

    aval: Any
    """Its shape and dtype."""
    constant: Any = None
    """The number or array itself, where it is known."""

    @property
    def nbytes(self) -> int:
        """Its bytes; keys of random numbers, which are no data, have none."""
        dtype = self.aval.dtype
        return self.aval.size * dtype.itemsize if isinstance(dtype, np.dtype) else 0

    def read(self, known: dict[Value, Any]) -> Any:
        """Return the number or array; a constant may be known by a part of it."""
        return known[self] if self.constant is None or self in known else self.constant


class Step(NamedTuple):
    """One equation."""

    primitive: Any
    inputs: list[Value]
    outputs: list[Value]
    params: dict[str, Any]

    def run(self, known: dict[Value, Any], params: dict[str, Any] | None = None) -> None:
        """Add the outputs to what is known; with other parameters for arrays of another size."""
        params = self.params if params is None else params
        made = self.primitive.bind(*(value.read(known) for value in self.inputs), **params)
        outputs = made if self.primitive.multiple_results else [made]
        known.update(zip(self.outputs, outputs, strict=True))


class Steps(NamedTuple):
    """A function as its equations."""

    constants: list[Value]
    """The arrays that it closes over."""
    arguments: list[Value]
    steps: list[Step]
    """Those that a result depends on."""
    results: list[Value]


CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}
"""Primitives that call a function, and the parameter that holds it.

Rules for derivatives are lost with the call: the derivative is taken of the function itself.
"""


def steps_of(jaxpr: Any) -> Steps:
    """Return the equations of a jaxpr that its results depend on.

    Examples
    --------
    >>> import jax
    >>> closed = jax.make_jaxpr(jax.jit(lambda x: (x + 1) * jax.nn.relu(x)))(2.0)
    >>> [step.primitive.name for step in steps_of(closed.jaxpr).steps]
    ['add', 'max', 'mul']
    """
    constants, arguments = (
        [Value(variable.aval) for variable in variables]
        for variables in (jaxpr.constvars, jaxpr.invars)
    )
    steps: list[Step] = []
    results = _inline(jaxpr, constants, arguments, steps)
    needed, kept = set(results), []
    for step in reversed(steps):
        if needed.intersection(step.outputs):
            needed.update(step.inputs)
            kept.append(step)
    return Steps(constants, arguments, kept[::-1], results)


def _inline(
    jaxpr: Any, constants: Sequence[Value], arguments: Sequence[Value], steps: list[Step]
) -> list[Value]:
    """Append the equations to ``steps``; returns the results."""
    known = dict(zip(jaxpr.constvars, constants, strict=True))
    known |= dict(zip(jaxpr.invars, arguments, strict=True))

    def value(atom: Any) -> Value:
        return Value(atom.aval, atom.val) if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        inputs = [value(atom) for atom in equation.invars]
        called = equation.params.get(CALLS.get(equation.primitive.name, ""))
        if called is None:
            outputs = [Value(variable.aval) for variable in equation.outvars]
            steps.append(Step(equation.primitive, inputs, outputs, equation.params))
        else:
            closed = [Value(jax.typeof(array), array) for array in getattr(called, "consts", ())]
            outputs = _inline(getattr(called, "jaxpr", called), closed, inputs, steps)
        known.update(zip(equation.outvars, outputs, strict=True))
    return [value(atom) for atom in jaxpr.outvars]
