"""The API reference of the site holds every public name, and every public thing has a docstring."""

import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
import re

import pytest

import parallel_mcmc

DOCS = pathlib.Path(__file__).parents[1] / "docs"
DIRECTIVES = {
    name: page.name
    for page in sorted((DOCS / "api").glob("*.md"))
    for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)
}
# Modules that users import from; kernels and solver export as well what is only for contributors.
PUBLIC = ["", ".arviz", ".blackjax", ".data", ".models", ".numpyro", ".plots", ".store", ".warmup"]


def resolve(name):
    """Return what a dotted name stands for."""
    module = pkgutil.resolve_name(name) if "." not in name else None
    return module or pkgutil.resolve_name(name)


def exported():
    """Yield module, name and object of everything in an ``__all__``."""
    for suffix in PUBLIC:
        module = importlib.import_module("parallel_mcmc" + suffix)
        for name in module.__all__:
            yield module.__name__, name, getattr(module, name)


EXPORTED = [pytest.param(*names, id=".".join(names[:2])) for names in exported()]
