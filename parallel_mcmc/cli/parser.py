"""Parsing of arguments, with errors of one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line and exits with status 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def error(self, message: str) -> NoReturn:
        """Print ``message`` and where to find help."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return the type of an argument that is an integer between bounds, both included.

    Examples
    --------
    >>> integer(1)("20")
    20
    """

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < minimum or (maximum is not None and value > maximum):
            upper = "" if maximum is None else f" and at most {maximum}"
            raise argparse.ArgumentTypeError(
                f"must be an integer of at least {minimum}{upper}, got {text!r}"
            )
        return value

    return parse
