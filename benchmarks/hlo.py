"""What a compiled program executes: its kernels, read off the text of XLA, with their work.

XLA's own ``cost_analysis`` counts the body of a loop once and adds all kernels up. A model of time
needs them one by one, those of a loop as often as it runs.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

# Those that are no kernel, and move no data.
IDLE = "parameter constant tuple get-tuple-element bitcast after-all partition-id".split()
# Those that a fusion does on the way, by computing an address.
FREE = [*IDLE, *"broadcast copy concatenate iota pad reshape reverse slice transpose".split()]
FREE += "dynamic-slice dynamic-update-slice gather scatter convert fusion call".split()
TRANSCENDENTAL = (
    "cbrt cosine erf exponential exponential-minus-one log log-plus-one logistic power rsqrt sine"
    " sqrt tan tanh atan2"
).split()
# Those that read no more than they return.
PARTIAL = ("slice", "dynamic-slice", "gather")
# A custom call of a matrix product has no loops to count, but its shapes.
GEMM = re.compile(r'custom_call_target="[^"]*(gemm|matmul)', re.IGNORECASE)


class Work(NamedTuple):
    """What is done: numbers of operations, and of bytes that are read and written."""

    products: float = 0.0
    """Operations of matrix products, two for each multiplication."""
    elementwise: float = 0.0
    transcendental: float = 0.0
    bytes: float = 0.0

    def plus(self, other: "Work") -> "Work":
        """Return the sum."""
        return Work(*map(sum, zip(self, other, strict=True)))


class Launch(NamedTuple):
    """A kernel, and how often it runs."""

    kind: str
    work: Work
    count: float


class Instruction(NamedTuple):
    """A line of the text."""

    name: str
    kind: str
    shape: str
    operands: tuple[str, ...]
    attributes: str
    root: bool


Program = dict[str, dict[str, Instruction]]
"""The instructions of every computation, by name; that of the entry is the empty string."""


def parsed(text: str) -> Program:
    """Return the computations of a program."""
    computations: Program = {}
    place: dict[str, Instruction] = {}
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if not line.startswith(" ") and line.endswith("{"):
            name = "" if line.startswith("ENTRY") else line.split()[0].lstrip("%")
            place = computations[name] = {}
        elif match := re.match(r"\s+(ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)", line):
            root, name, shape, kind, rest = match.groups()
            inside, _, attributes = rest.partition(")")
            operands = tuple(re.findall(r"%([\w.-]+)", inside))
            # The number of a parameter stands where others have their operands.
            place[name] = Instruction(
                name, kind, shape, operands or (inside,), attributes, bool(root)
            )
    return computations


def launches(text: str, apart: bool = False) -> list[Launch]:
    """Return the kernels of a compiled program.

    A loop whose number of turns XLA does not know counts as one turn; a condition as its branch
    with most kernels.

    Parameters
    ----------
    text
        The program after XLA's optimisation.
    apart
        Count the kernels of a small loop one by one. For a CPU XLA makes one kernel of them; a GPU
        would launch each.
    """
    return list(_launches(parsed(text), "", 1, apart))


def total(kernels: list[Launch]) -> Work:
    """Return what all kernels do together."""
    work = Work()
    for kernel in kernels:
        work = work.plus(Work(*(kernel.count * part for part in kernel.work)))
    return work


def number(kernels: list[Launch]) -> float:
    """Return how often a kernel is launched."""
    return sum(kernel.count for kernel in kernels)


class Loop(NamedTuple):
    """What the body of a loop has become, with the loops within it."""

    instructions: int
    """Those that do something, and calls."""
    fusions: int
    loops: int


def longest_loop(text: str) -> Loop:
    """Return the counts of the longest loop of a compiled program.

    A condition counts as its shorter branch: the longer one of a solve runs in one iteration.
    """
    program = parsed(text)

    def count(place: str) -> Loop:
        found = Loop(0, 0, 0)
        for instruction in program[place].values():
            kind = instruction.kind
            if kind in IDLE:
                continue
            found = _plus(found, Loop(1, kind == "fusion", kind == "while"))
            if kind == "conditional":
                found = _plus(found, min(map(count, _branches(instruction))))
            elif kind in ("while", "call"):
                for part in _called(instruction, "body|to_apply"):
                    found = _plus(found, count(part))
        return found

    instructions = (i for place in program.values() for i in place.values() if i.kind == "while")
    return max(count(body) for loop in instructions for body in _called(loop, "body"))


def _plus(a: Loop, b: Loop) -> Loop:
    return Loop(*map(sum, zip(a, b, strict=True)))


def _launches(program: Program, place: str, count: float, apart: bool) -> Iterator[Launch]:
    for instruction in program[place].values():
        kind = instruction.kind
        if kind in IDLE or kind.endswith("-done"):
            continue
        if kind == "while":
            turns = re.search(r'"known_trip_count":\{"n":"(\d+)"', instruction.attributes)
            often = count * (int(turns[1]) if turns else 1)
            for part in _called(instruction, "body|condition"):
                yield from _launches(program, part, often, apart)
        elif kind == "conditional":
            branches = [
                list(_launches(program, part, count, apart)) for part in _branches(instruction)
            ]
            yield from max(branches, key=number)
        elif kind == "call":
            (part,) = _called(instruction, "to_apply")
            if "small_call" in instruction.attributes and not apart:
                inner = list(_launches(program, part, 1, apart))
                yield Launch("call", total(inner), count)
            else:
                yield from _launches(program, part, count, apart)
        else:
            work = _operations(program, place, instruction)
            size = _traffic(program, place, instruction)
            yield Launch(kind, work._replace(bytes=size), count)


def _operations(program: Program, place: str, instruction: Instruction) -> Work:
    kind, output = instruction.kind, _elements(instruction.shape)
    if kind == "fusion":
        (part,) = _called(instruction, "calls")
        work = Work()
        for inner in program[part].values():
            work = work.plus(_operations(program, part, inner))
        return work
    shapes = _operand_shapes(program, place, instruction)
    if kind == "dot":
        return Work(products=2 * output * _contracted(instruction, shapes[0]))
    if kind == "custom-call":
        # The sizes of (m, k), (k, n) and (m, n) multiply to the square of m n k.
        sizes = [_elements(shape) for shape in (*shapes[:2], instruction.shape)]
        return Work(products=2 * math.sqrt(math.prod(sizes)) if _is_gemm(instruction) else 0.0)
    if kind == "reduce":
        return Work(elementwise=_elements(shapes[0]))
    if kind == "reduce-window":
        window = re.search(r"size=([\dx]+)", instruction.attributes)
        sides = window[1].split("x") if window else []
        return Work(elementwise=output * math.prod(map(int, sides)))
    if kind == "sort":
        return Work(elementwise=output * math.log2(max(output, 2)))
    if kind in TRANSCENDENTAL:
        return Work(transcendental=output)
    return Work(elementwise=0.0 if kind in FREE else output)


def _traffic(program: Program, place: str, instruction: Instruction) -> float:
    """Return the bytes that a kernel reads and writes."""
    kind, shapes = instruction.kind, _operand_shapes(program, place, instruction)
    if kind in PARTIAL:
        return 2 * _bytes(instruction.shape)
    if kind == "dynamic-update-slice":
        return 2 * _bytes(shapes[1])
    written = _bytes(instruction.shape)
    if kind != "fusion":
        return written + sum(map(_bytes, shapes))
    (part,) = _called(instruction, "calls")
    inner = program[part]
    read = 0.0
    for own in inner.values():
        if own.kind == "parameter":
            read += min(_read(inner, own.name), _bytes(own.shape))
    for own in inner.values():
        if own.kind == "dynamic-update-slice":
            # It is done in place: the rest of the array stays.
            written -= _bytes(own.shape) - _bytes(inner[own.operands[1]].shape)
    return read + max(written, 0.0)


def _read(inner: dict[str, Instruction], name: str) -> float:
    """Return the bytes of an array that the instructions of a fusion read."""
    size = 0.0
    for user in inner.values():
        if name not in user.operands:
            continue
        if user.kind in ("bitcast", "reshape"):
            size += _read(inner, user.name)
        elif user.kind in PARTIAL and user.operands[0] == name:
            size += _bytes(user.shape)
        elif user.kind == "dynamic-update-slice" and user.operands[0] == name:
            continue
        else:
            return math.inf
    return size


def _operand_shapes(program: Program, place: str, instruction: Instruction) -> list[str]:
    own = program[place]
    return [own[name].shape for name in instruction.operands if name in own]


def _contracted(instruction: Instruction, left: str) -> int:
    match = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
    sides = _sides(re.findall(r"\[([\d,]*)\]", left)[0])
    return math.prod(sides[int(axis)] for axis in _split(match[1] if match else ""))


def _is_gemm(instruction: Instruction) -> bool:
    return GEMM.search(instruction.attributes) is not None


def _called(instruction: Instruction, names: str) -> list[str]:
    return re.findall(rf"(?:{names})=%?([\w.-]+)", instruction.attributes)


def _branches(instruction: Instruction) -> list[str]:
    several = re.search(r"branch_computations=\{(.*?)\}", instruction.attributes)
    if several:
        return re.findall(r"%?([\w.-]+)", several[1])
    return _called(instruction, "true_computation|false_computation")


def _elements(shape: str) -> float:
    return float(sum(math.prod(_sides(sides)) for sides in re.findall(r"\[([\d,]*)\]", shape)))


def _bytes(shape: str) -> float:
    size = 0.0
    for dtype, sides in re.findall(r"([a-z]+\d*)\w*\[([\d,]*)\]", shape):
        bits = re.search(r"\d+", dtype)
        size += (int(bits[0]) / 8 if bits else 1) * math.prod(_sides(sides))
    return size


def _sides(text: str) -> list[int]:
    return list(map(int, _split(text)))


def _split(text: str) -> list[str]:
    return [part for part in text.split(",") if part]
