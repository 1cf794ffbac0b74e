"""What a compiled program sends: its collectives, read off the text of XLA."""

import re
from typing import NamedTuple

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
