"""Draw the chains of a model in parallel, and compare them with the sequential ones.

A warmup tunes the kernel; then the same keys are run through the parallel solver and through the
plain loop. The command prints a summary of the posterior, what the solver did, how far the two
chains are apart and how long both took. It writes the draws (posterior.nc, for ArviZ) and two
pictures (trace.png, convergence.png).
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import warnings

from parallel_mcmc._errors import SequentialFallbackWarning
from parallel_mcmc.cli.options import add_problem, precision
from parallel_mcmc.cli.parser import Parser, integer
from parallel_mcmc.segments import InterruptedWarning

METHODS = ("surrogate", "diagonal", "dense")


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    add_problem(parser)
    add = parser.add_argument
    add(
        "--chains",
        type=integer(1),
        default=4,
        metavar="N",
        help="number of chains (default: %(default)s)",
    )
    add(
        "--samples",
        # R-hat needs four.
        type=integer(4),
        default=1000,
        metavar="N",
        help="draws of a chain (default: %(default)s)",
    )
    add(
        "--window",
        type=integer(1),
        metavar="N",
        help="draws solved for together (default: all of a chain)",
    )
    add(
        "--method",
        choices=METHODS,
        help="model of the Jacobian (default: diagonal for german-credit, dense for eight-schools)",
    )
    add(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("demo-output"),
        metavar="DIR",
        help="where to write the files (default: %(default)s)",
    )
    add("--quiet", action="store_true", help="print nothing but the names of the files")


def run(args: argparse.Namespace) -> int:
    """Run the demo and return its exit status."""
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        args.parser.error(f"argument --output: {error.strerror}: {error.filename}")
    with precision(args.x64), warnings.catch_warnings():
        # ArviZ 0.2x announces ArviZ 1.
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing", FutureWarning)
        # The report has a line for it.
        warnings.simplefilter("ignore", SequentialFallbackWarning)
        # Chains of two lengths cannot be compared.
        warnings.simplefilter("error", InterruptedWarning)
        from parallel_mcmc.cli.comparison import compare

        try:
            compare(args)
        except InterruptedWarning as interrupted:
            raise KeyboardInterrupt from interrupted
        except OSError as error:
            print(f"{args.parser.prog}: {error}", file=sys.stderr)
            return 1
    return 0
