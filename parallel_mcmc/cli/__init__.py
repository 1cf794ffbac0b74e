"""The command line: ``python -m parallel_mcmc COMMAND``.

A command is a module with a docstring, whose first line is its help, ``add_arguments(parser)`` and
``run(args)``, which returns the exit status; it is entered in ``COMMANDS``. What takes long to
import is imported by ``run``, so that ``--help`` does not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import parallel_mcmc
from parallel_mcmc.cli import demo, diagnose, versions
from parallel_mcmc.cli.parser import Parser

__all__ = ["main"]

COMMANDS = {"demo": demo, "diagnose": diagnose, "versions": versions}
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv
        The arguments, by default those of the process.

    Returns
    -------
    int
        The exit status: 0, or 1 if a file could not be written, or 130 if interrupted. Wrong
        arguments end the process with status 2.

    Examples
    --------
    >>> from parallel_mcmc.cli import main
    >>> main(["--version"])
    Traceback (most recent call last):
    SystemExit: 0
    """
    parser = _parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        # By the command's own parser, whose --help lists what there is.
        args.parser.error(f"unknown argument: {' '.join(unknown)}")
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> Parser:
    parser = Parser(prog="python -m parallel_mcmc", description=parallel_mcmc.__doc__)
    parser.add_argument("--version", action="version", version=parallel_mcmc.__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        description = (module.__doc__ or "").strip()
        summary = description.splitlines()[0].rstrip(".")
        command = commands.add_parser(name, help=summary, description=description)
        module.add_arguments(command)
        command.set_defaults(run=module.run, parser=command)
    return parser
