"""Every table and figure of docs/performance.md, from scratch.

    python benchmarks/run_all.py [NAME ...] [--platform cuda] [--quick]

Runs the programs that keep tables, one after the other, each in a process of its own, and then
``render.py``, which writes the tables and figures into the documentation. With names only those
programs; with ``--quick`` each on its smallest problem, to see that all is well, and nothing is
kept.
"""

import argparse
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).resolve().parent
SIDES = ("--sides", "auto", "blackjax", "numpyro", "blackjax drop-in", "numpyro drop-in")
SMALL = ("--only", "german", "eight", *SIDES)
TINY = ("--only", "eight", *SIDES)
SUITE = ("--only", "banana", "mixture", "-", "--sides", "auto", "blackjax")
LARGE = ("--only", "logistic", "linear")


class Program(NamedTuple):
    """A program, with the arguments of its recorded runs and of a quick one."""

    file: str
    arguments: list[list[str]]
    quick: list[str]


PROGRAMS = {
    "german_credit": Program("german_credit.py", [[]], ["--keys", "1", "--draws", "128"]),
    "evaluations": Program("evaluations.py", [[]], ["--keys", "1", "--draws", "256"]),
    "solver": Program(
        "solver.py",
        [
            ["--longest", "100000", "--methods", "default"],
            ["--shortest", "--name", "solver, literature", "--methods"]
            + ["deer", "quasi_deer", "jacobi", "elk(0.1)"],
        ],
        ["--keys", "1", "--cases", "banana", "--longest", "1024", "--methods", "default"],
    ),
    "auto": Program(
        "auto.py",
        [
            [*SMALL, "--repeats", "5", "--x32", "--name", "small, float32"],
            [*SMALL, "--repeats", "5", "--name", "small, float64"],
            [*TINY, "--repeats", "5", "--x32", "--one-kernel", "--name", "small, one kernel"],
            [*SUITE, "--repeats", "15", "--name", "suite, float64"],
            [*LARGE, "--repeats", "5", "--x32"]
            + ["--sides", "auto", "blackjax", "--name", "large, float32"],
            [*LARGE, "--kernels", "HMC", "--chains", "1", "--repeats", "3"]
            + ["--sides", "auto", "blackjax", "--name", "large, float64"],
        ],
        ["--only", "banana", "--chains", "1", "--repeats", "1"],
    ),
    "effective": Program(
        "effective.py", [["--draws", "2048"]], ["--draws", "1024", "--repeats", "1"]
    ),
    "startup": Program("startup.py", [[]], ["--repeats", "1"]),
    "scaling": Program(
        "scaling.py",
        [
            ["--axes", "length", "--largest", "20"],
            ["--x32", "--axes", "dimension", "rows", "chains"],
        ],
        ["--axes", "chains", "--x32"],
    ),
    "long_chains": Program(
        "long_chains.py", [["--x32"]], ["--steps", "4096", "--windows", "256", "--x32"]
    ),
    "windows": Program(
        "windows.py",
        [["--x32", "--methods", "Surrogate", "Dense", "--windows", "32", "512", "4096"]],
        ["--x32", "--only", "banana", "--draws", "256", "--windows", "32", "--methods", "Dense"],
    ),
    "iteration": Program("iteration.py", [["--x32"]], ["--x32", "--parts", "chaos"]),
    "rows": Program("rows.py", [["--x32"]], ["--x32", "--only", "robust", "--batches", "1"]),
    "parts": Program("parts.py", [["--x32"]], ["--", "-k", "random"]),
    "roofline": Program(
        "roofline.py", [[]], ["--only", "eight", "--longest", "128", "--repeats", "1"]
    ),
    "precision": Program(
        "precision.py",
        [[]],
        ["--only", "german", "--draws", "128", "--kernels", "MALA", "--repeats", "1"],
    ),
    "streaming": Program("streaming.py", [["--x32"]], ["--draws", "2000", "--every", "1000"]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROGRAMS)}")
    parser.add_argument("--platform", help="JAX backend, such as cpu or cuda")
    parser.add_argument("--quick", action="store_true", help="the smallest problems, not kept")
    options = parser.parse_args()
    unknown = set(options.names) - set(PROGRAMS)
    if unknown:
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    common = ["--platform", options.platform] if options.platform else []
    for name in options.names or PROGRAMS:
        program = PROGRAMS[name]
        for arguments in [program.quick] if options.quick else program.arguments:
            shown = [program.file, *arguments]
            print(f"\n== {' '.join(shown)}", flush=True)
            begin = time.perf_counter()
            kept = [] if options.quick else ["--save"]
            command = [sys.executable, program.file, *common, *kept, *arguments]
            subprocess.run(command, cwd=FOLDER, check=True)
            print(f"== {time.perf_counter() - begin:.0f} s", flush=True)
    if not options.quick:
        subprocess.run([sys.executable, "render.py"], cwd=FOLDER, check=True)


if __name__ == "__main__":
    main()
