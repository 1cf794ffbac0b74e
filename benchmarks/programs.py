"""What a program does: its operations, and those of its longest loop; what it sends.

Operations are counted in the program as JAX traces it, which hardly depends on the versions.
``hlo`` reads what XLA has made of it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr

KINDS = "all-gather|all-reduce|collective-permute|all-to-all|reduce-scatter"


class Message(NamedTuple):
    """A collective of a program."""

    kind: str
    dtype: str
    shape: tuple[int, ...]
    place: str
    """The computation that it is part of, such as the body of a loop."""


def messages(program):
    """Return the collectives in the text of a compiled program."""
    found, place = [], ""
    for line in program.splitlines():
        if not line.startswith(" ") and line.endswith("{"):
            place = line.split()[0]
        match = re.search(rf"= (\w+)\[([\d,]*)\]\S* ({KINDS})(-start)?\(", line)
        if match:
            shape = tuple(int(side) for side in match[2].split(",") if side)
            found.append(Message(match[3], match[1], shape, place))
    return found


def equations(jaxpr) -> Iterator:
    """Return the equations of a jaxpr and of all that it calls, in any branch."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in called(equation):
            yield from equations(inner)


def called(equation):
    """Return the jaxprs that an equation calls."""
    values = []
    for value in equation.params.values():
        values.extend(value if isinstance(value, tuple | list) else [value])
    closed = [value.jaxpr for value in values if isinstance(value, ClosedJaxpr)]
    return closed + [value for value in values if isinstance(value, Jaxpr)]


def longest_loop(jaxpr):
    """Return the equations of the body of the longest ``while`` loop: of a solve, an iteration.

    Those that only call others are left out.
    """
    bodies = [
        [inner for inner in equations(e.params["body_jaxpr"].jaxpr) if not called(inner)]
        for e in equations(jaxpr)
        if e.primitive.name == "while"
    ]
    return max(bodies, key=len)
