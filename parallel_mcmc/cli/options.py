"""Options that commands share: a posterior, a kernel tuned for it, random numbers, precision."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

import jax

from parallel_mcmc.cli.parser import Parser, integer

MODELS = ("german-credit", "eight-schools")
KERNELS = ("hmc", "mala")


def add_problem(parser: Parser) -> None:
    """Add the options that say what is drawn from, and how its kernel is tuned."""
    add = parser.add_argument
    add(
        "--model",
        choices=MODELS,
        default=MODELS[0],
        help="what to draw from (default: %(default)s)",
    )
    add(
        "--kernel",
        choices=KERNELS,
        default=KERNELS[0],
        help="transition kernel (default: %(default)s)",
    )
    add(
        "--warmup",
        type=integer(1),
        default=1000,
        metavar="N",
        help="warmup steps of a chain (default: %(default)s)",
    )
    add(
        "--seed",
        type=integer(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="seed of all random numbers (default: %(default)s)",
    )
    add(
        "--x64",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="double precision, in which the two chains agree (default: --x64)",
    )


@contextlib.contextmanager
def precision(x64: bool) -> Iterator[None]:
    """Compute in double precision or in single, for a while."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", x64)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
