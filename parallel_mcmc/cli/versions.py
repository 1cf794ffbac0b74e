"""Print what a report of a problem needs: versions, devices and settings.

Versions are those of the installed distributions, and devices those that JAX finds. Settings are
the precision of JAX and the environment variables that change how it computes.
"""

from __future__ import annotations

import argparse
import os
import platform
from importlib import metadata

import jax

import parallel_mcmc
from parallel_mcmc.cli.parser import Parser

DISTRIBUTIONS = ("jax", "jaxlib", "numpy", "blackjax", "numpyro", "arviz", "xarray", "zarr")
VARIABLES = ("JAX_", "XLA_", "CUDA_VISIBLE_DEVICES")
"""Beginnings of the names of the environment variables that are printed."""


def add_arguments(parser: Parser) -> None:
    """Add the options of the command: there are none."""


def run(args: argparse.Namespace) -> int:
    """Print the versions and return the exit status."""
    rows = {
        "parallel_mcmc": parallel_mcmc.__version__,
        "Python": platform.python_version(),
        "system": platform.platform(),
        **{name: _version(name) for name in DISTRIBUTIONS},
        "devices": _devices(),
        "double precision": "on" if jax.config.read("jax_enable_x64") else "off",
        **{name: os.environ[name] for name in sorted(os.environ) if name.startswith(VARIABLES)},
    }
    width = max(map(len, rows)) + 2
    for label, value in rows.items():
        print(f"{label:<{width}}{value}")
    return 0


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> str:
    """Return the devices by kind; one that cannot be used is what the report may be about."""
    try:
        kinds = [device.device_kind for device in jax.devices()]
    except RuntimeError as error:
        return f"none: {error}"
    return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
