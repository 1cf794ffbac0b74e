"""What the programs share: options, the stamp of a run, times in turn, and tables that are kept.

A program prints its tables. With ``--save`` they also go to ``results/<device>.json``, each with
the stamp of its run, from where ``render.py`` takes those of the documentation.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ONE_KERNEL = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=65536"
"""Has XLA compile the loops of small models into one kernel on a CPU, as later versions do."""
PACKAGES = ("parallel_mcmc", "jax", "blackjax", "numpyro", "arviz")


def parser_of(program: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all programs have, from a program's docstring."""
    parser = argparse.ArgumentParser(description=(program or "").split("\n")[0])
    parser.add_argument("--platform", help="JAX backend, such as cpu or cuda; by default the best")
    parser.add_argument("--x32", action="store_true", help="single precision")
    parser.add_argument(
        "--one-kernel", action="store_true", help="XLA compiles small loops into one kernel"
    )
    parser.add_argument("--save", action="store_true", help="keep the tables in results/")
    return parser


def start(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the options, set JAX up by them, and print the stamp."""
    options = parser.parse_args()
    flags = os.environ.get("XLA_FLAGS", "")
    if options.one_kernel and ONE_KERNEL not in flags:
        # Once more, since XLA reads it before the first computation, which an import may make.
        environment = os.environ | {"XLA_FLAGS": f"{flags} {ONE_KERNEL}"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    if options.platform:
        jax.config.update("jax_platforms", options.platform)
    jax.config.update("jax_enable_x64", not options.x32)
    # As the package evaluates the log density, for the sides that it is compared with too.
    jax.config.update("jax_default_matmul_precision", "highest")
    print(", ".join(f"{name} {value}" for name, value in stamp().items() if value) + "\n")
    return options


def stamp() -> dict[str, str]:
    """Return what the figures of a run depend on."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "date": datetime.datetime.now().astimezone().date().isoformat(),
        "commit": _commit(),
        **versions,
        "python": platform.python_version(),
        "device": device(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "precision": "float64" if jax.config.jax_enable_x64 else "float32",
        "arguments": " ".join(sys.argv[1:]),
    }


def device() -> str:
    """Return the name of the device: its kind, or of a CPU the number of its cores."""
    kind = jax.devices()[0].device_kind
    return f"{len(os.sched_getaffinity(0))} CPU cores" if kind == "cpu" else kind


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "parallel_mcmc")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def _processor() -> str:
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    model = re.search(r"model name\s*: (.*)", text)
    return model[1] if model else platform.machine()


def in_new_process(*arguments: str) -> Any:
    """Run Python in a new process, and return what it prints in its last line, as JSON.

    It compiles all that it needs: what a cache saves is not part of what is measured.
    """
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    shown = subprocess.check_output([sys.executable, *arguments], env=environment, text=True)
    return json.loads(shown.splitlines()[-1])


class Times(NamedTuple):
    """Seconds of one side of a comparison."""

    first: float
    """Of the first call, compilation included."""
    median: float
    """Of the calls after it."""
    result: Any
    """Of the first call."""


def in_turn(
    sides: Mapping[str, Callable[[], Any]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Time functions of no argument in turn, so that all of them meet the same machine."""

    def once(run: Callable[[], Any]) -> tuple[float, Any]:
        begin = clock()
        result = jax.block_until_ready(run())
        return clock() - begin, result

    firsts = {name: once(run) for name, run in sides.items()}
    kept: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            kept[name].append(once(run)[0])
    return {
        name: Times(first, statistics.median(kept[name]), result)
        for name, (first, result) in firsts.items()
    }


class Table:
    """A table that is printed row by row, and kept at the end.

    Parameters
    ----------
    name
        Under which it is kept, and by which the documentation asks for it.
    columns
        The format of every column by its heading, as in ``format(value, spec)``; a width in it
        aligns the print.
    """

    def __init__(self, name: str, columns: Mapping[str, str]) -> None:
        self.name = name
        self.columns = dict(columns)
        self.rows: list[list[Any]] = []
        # Now, of what runs: the files may change until the table is kept.
        self._stamp = stamp()
        self._widths = [max(len(head), _width(spec)) for head, spec in self.columns.items()]
        print(self._line(list(self.columns)))

    def add(self, *values: Any) -> None:
        """Print a row and keep it; None is shown as a dash."""
        assert len(values) == len(self.columns)
        cells = [
            shown(value, spec) for value, spec in zip(values, self.columns.values(), strict=True)
        ]
        print(self._line(cells), flush=True)
        self.rows.append([_plain(value) for value in values])

    def _line(self, cells: list[str]) -> str:
        aligned = [
            f"{cell:<{width}}" if "<" in spec or not _width(spec) else f"{cell:>{width}}"
            for cell, width, spec in zip(cells, self._widths, self.columns.values(), strict=True)
        ]
        return "  ".join(aligned).rstrip()

    def save(self, options: argparse.Namespace) -> None:
        """Keep the table with the stamp of the run, if the program was asked to."""
        print()
        if not options.save:
            return
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / (re.sub(r"\W+", "-", device()).strip("-").lower() + ".json")
        tables = json.loads(path.read_text()) if path.exists() else {}
        tables[self.name] = {"stamp": self._stamp, "columns": self.columns, "rows": self.rows}
        path.write_text(_text(tables))


def _text(tables: Mapping[str, Any]) -> str:
    """Return JSON with a row a line, so that a row that changes is a line that changes."""
    parts = []
    for name, table in sorted(tables.items()):
        rows = ",\n   ".join(json.dumps(row) for row in table["rows"])
        head = "".join(f'  "{key}": {json.dumps(table[key])},\n' for key in ("stamp", "columns"))
        parts.append(f' {json.dumps(name)}: {{\n{head}  "rows": [\n   {rows}\n  ]\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def shown(value: Any, spec: str, missing: str = "-") -> str:
    """Return a value as its column shows it, but for the width."""
    if value is None:
        return missing
    return format(value, re.sub(r"^[<>]?\d+", "", spec) if not isinstance(value, str) else "")


def _width(spec: str) -> int:
    match = re.match(r"[<>]?(\d+)", spec)
    return int(match[1]) if match else 0


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.item() if hasattr(value, "item") else str(value)
