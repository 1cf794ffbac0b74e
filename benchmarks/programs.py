"""What a program does: its operations, and those of its longest loop; what it sends.

Operations are counted in the program as JAX traces it, which hardly depends on the versions, or in
the text of what XLA has made of it.
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


class Compiled(NamedTuple):
    """What the body of a loop has become, with the loops within it."""

    instructions: int
    """Those that do something: no constant, no access to a tuple, no change of shape."""
    fusions: int
    loops: int


IDLE = "parameter|constant|tuple|get-tuple-element|bitcast"


def compiled_loop(program):
    """Return the counts of the longest loop in the text of a compiled program."""
    places, place = {}, ""
    for line in program.splitlines():
        if not line.startswith(" ") and line.endswith("{"):
            place = line.removeprefix("ENTRY ").split()[0]
            places[place] = []
        elif match := re.search(r"= .*? ([\w-]+)\(", line):
            if not re.fullmatch(IDLE, match[1]):
                places[place].append((match[1], line))

    def count(place):
        total = Compiled(len(places[place]), 0, 0)
        for kind, line in places[place]:
            own = Compiled(0, kind == "fusion", kind == "while")
            inner = re.findall(r"(?:body|to_apply|branch_computations=\{)=?(%[\w.-]+)", line)
            parts = [count(name) for name in inner if kind in ("while", "call", "conditional")]
            total = Compiled(*map(sum, zip(total, own, *parts, strict=True)))
        return total

    bodies = re.findall(r"body=(%[\w.-]+)", program)
    return max(map(count, bodies))
