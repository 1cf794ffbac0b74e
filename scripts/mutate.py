"""Mutation testing of the solver core: does a test fail for every small change of the code?

    python scripts/mutate.py [--every 1] [--seed 0] [--limit 60] [MODULE ...]

Mutates a copy of the package with the operators of Cosmic Ray, one change at a time, and runs the
tests that exercise the module until one fails. Prints the mutants that survive, and the table of
docs/reliability.md. With `--every N` one mutant in N is taken, at random, and all of the functions
that decide whether a state is found. Results are kept in `.cache/mutation`; what has been killed
is not run again until the module changes.

Left out, for no test should notice them: annotations, and numbers outside functions (tuning
constants and defaults). Of the many replacements for an arithmetic operator or a comparison one or
two are made, those nearest to it; the others are noticed by any test that notices these.
"""

import argparse
import hashlib
import json
import os
import pathlib
import platform
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from typing import NamedTuple

# Imported once: every mutant is tested in a fork of this process.
import jax
import jax.numpy
import jax.scipy.linalg
import numpy as np  # noqa: F401
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / ".cache" / "mutation"
SOLVER = "parallel_mcmc/solver"

# The tests of each module, the quickest first.
TESTS = {
    "window": ["test_window.py"],
    "plain_loop": ["test_window.py"],
    "verdict": ["test_verdict.py"],
    "newton": ["test_newton.py"],
    "safeguards": [
        "test_safeguards.py::test_learned_cap_grows_shrinks_and_opens",
        "test_safeguards.py::test_learned_cap_has_limits_and_takes_ties_for_good",
        "test_safeguards.py::test_fixed_cap_stays",
        "test_safeguards.py::test_caps_are_immutable_and_pass_through_jit",
        "test_safeguards.py::test_bad_safeguards",
        "test_safeguards.py::test_bad_learned_cap",
        "test_safeguards.py::test_secant_explains_the_last_move_and_nothing_at_right_angles",
        "test_safeguards.py::test_clip_length_bounds_the_root_mean_square",
        "test_newton.py",
    ],
    "scans": ["test_scans.py", "test_block.py::test_operator_is_the_matrix", "test_operators.py"],
    "operators": [
        "test_operators.py",
        "test_block.py::test_operator_is_the_matrix",
        "test_trust_region.py",
    ],
    "chart": [
        "test_chart.py",
        "test_window.py",
        "test_api.py::test_equals_the_loop_in_single_precision",
    ],
}

# What decides whether a state counts as found: a sample takes all of their mutants.
DECIDING = {
    "_beyond_rounding",
    "_contraction",
    "_residual",
    "conclude",
    "look_at",
    "next_residual",
}

OPERATORS = [
    "AddNot",
    "NumberReplacer",
    "RemoveDecorator",
    "ReplaceAndWithOr",
    "ReplaceFalseWithTrue",
    "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse",
    "ZeroIterationForLoop",
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("Invert", "Not", "USub")),
    *(
        f"ReplaceBinaryOperator_{name}"
        for name in (
            "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Mul Pow_Mul BitAnd_BitOr BitOr_BitAnd"
        ).split()
    ),
    *(
        f"ReplaceComparisonOperator_{name}"
        for name in (
            "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot "
            "IsNot_Is"
        ).split()
    ),
]


class Mutant(NamedTuple):
    """One change of a module."""

    line: int
    function: str
    operator: str
    occurrence: int
    before: str
    after: str
    code: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module that a test should notice, in the order of its lines."""
    found = []
    nodes = list(ast_nodes(get_ast(source)))
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        positions = [
            (node, start) for node in nodes for start, _ in operator.mutation_positions(node)
        ]
        found += [
            (*start, function_of(node), name, occurrence)
            for occurrence, (node, start) in enumerate(positions)
            if not ignored(node, name)
        ]
    for line, _, function, name, occurrence in sorted(found):
        code = mutate_code(source, get_operator(f"core/{name}")(), occurrence)
        before, after = source.splitlines(), code.splitlines()
        # A removed decorator takes its line away.
        changed = after[line - 1] if len(after) == len(before) else "(line removed)"
        yield Mutant(
            line, function, name, occurrence, before[line - 1].strip(), changed.strip(), code
        )


def ignored(node, operator: str) -> bool:
    """Whether a node is part of an annotation, or a number outside functions."""
    outer = node
    while outer.parent is not None:
        if outer.parent.type in ("annassign", "tfpdef"):
            return True
        if outer.parent.type == "funcdef" and outer is outer.parent.annotation:
            return True
        outer = outer.parent
    return operator == "NumberReplacer" and not function_of(node)


def function_of(node) -> str:
    """Return the name of the function that a node is in, or nothing."""
    while node is not None and node.type != "funcdef":
        node = node.parent
    return "" if node is None else node.name.value


def outcome_of(copy: pathlib.Path, tests: list[str], limit: int) -> str:
    """Return how the tests end for the package in ``copy``, within ``limit`` seconds of CPU."""
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            os.chdir(copy)
            sys.path.insert(0, str(copy))
            sys.dont_write_bytecode = True
            log = os.open(copy / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests])
            sys.stdout.flush()
            os._exit(int(code))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timeout"
    return "killed" if status else "survived"


def run(module: str, copy: pathlib.Path, options: argparse.Namespace) -> list[dict]:
    """Test the mutants of a module and return one record each."""
    path = copy / SOLVER / f"{module}.py"
    source = path.read_text()
    tests = [f"tests/solver/{test}" for test in TESTS[module]]
    if outcome_of(copy, tests, options.limit) != "survived":
        sys.exit(f"{module}: the tests fail without a mutation\n{(copy / 'log').read_text()}")
    store = RESULTS / f"{module}-{hashlib.sha256(source.encode()).hexdigest()[:16]}.jsonl"
    store.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []
    killed = {
        (record["operator"], record["occurrence"]): record
        for record in known
        if record["outcome"] != "survived"
    }
    records = []
    for mutant in sample(list(mutants(source)), options):
        record = killed.get((mutant.operator, mutant.occurrence))
        if record is None:
            path.write_text(mutant.code)
            start = time.monotonic()
            outcome = outcome_of(copy, tests, options.limit)
            path.write_text(source)
            seconds = round(time.monotonic() - start, 1)
            record = mutant._asdict() | {"outcome": outcome, "seconds": seconds}
            del record["code"]
            with store.open("a") as file:
                file.write(json.dumps(record) + "\n")
        if record["outcome"] == "survived":
            print(f"{module}.py:{record['line']}: {record['before']}")
            print(f"{' ' * len(module)}     -> {record['after']}", flush=True)
        records.append(record)
    return records


def sample(every: list[Mutant], options: argparse.Namespace) -> list[Mutant]:
    """Return all mutants of the functions that decide, and one in so many of the others."""
    others = [mutant for mutant in every if mutant.function not in DECIDING]
    random.Random(options.seed).shuffle(others)
    return sorted([m for m in every if m.function in DECIDING] + others[:: options.every])


def main() -> None:
    """Run the mutants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--every", type=int, default=1, help="take one mutant in so many")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--limit", type=int, default=60, help="CPU seconds of a mutant's tests")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        copy = pathlib.Path(directory)
        for name in ("parallel_mcmc", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for module in options.modules or TESTS:
            records = run(module, copy, options)
            count = [
                sum(record["outcome"] == outcome for record in records)
                for outcome in ("killed", "timeout", "survived")
            ]
            possible = len(list(mutants((ROOT / SOLVER / f"{module}.py").read_text())))
            rows.append((f"`{module}`", possible, len(records), *count))
    print(f"\nJAX {jax.__version__}, Python {platform.python_version()}, {platform.machine()}")
    print("| module | mutants | run | killed | timed out | survived |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")


if __name__ == "__main__":
    main()
