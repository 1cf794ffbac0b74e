"""The API reference of the site has every public name, and everything public has a docstring."""

import collections
import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
import re
import types

import pytest

import parallel_mcmc

PAGES = sorted((pathlib.Path(__file__).parents[1] / "docs" / "api").glob("*.md"))
MODULES = [
    "parallel_mcmc",
    "parallel_mcmc.arviz",
    "parallel_mcmc.blackjax",
    "parallel_mcmc.data",
    "parallel_mcmc.diagnosis",
    "parallel_mcmc.kernels",
    "parallel_mcmc.models",
    "parallel_mcmc.numpyro",
    "parallel_mcmc.plots",
    "parallel_mcmc.solver",
    "parallel_mcmc.store",
    "parallel_mcmc.warmup",
]
PUBLIC = [
    f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__
]
DIRECTIVES = [
    name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
]


def resolve(name):
    """Return what a dotted name means to who imports it: not a module of the same name."""
    parent, _, last = name.rpartition(".")
    return getattr(importlib.import_module(parent), last)


def covered():
    """Return what the pages show: the objects named there, and the names of whole modules."""
    for name in DIRECTIVES:
        shown = resolve(name)
        yield from map(vars(shown).get, shown.__all__) if inspect.ismodule(shown) else [shown]


def own_docstring(thing):
    """Return a docstring that somebody wrote; dataclasses and named tuples make one up."""
    doc = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    made_up = inspect.isclass(thing) and doc and doc.startswith(f"{thing.__name__}(")
    return None if made_up else doc


def members(thing):
    """Yield the public methods and properties that a class defines itself."""
    for name, value in vars(thing).items() if inspect.isclass(thing) else ():
        methods = types.FunctionType | property | classmethod | staticmethod
        if isinstance(value, methods) and not name.startswith("_"):
            yield name, getattr(thing, name)


def test_every_module_with_public_names_is_here():
    package = importlib.import_module("parallel_mcmc")
    found = {"parallel_mcmc", "parallel_mcmc.cli"}  # whose reference is its --help
    for info in pkgutil.iter_modules(package.__path__, "parallel_mcmc."):
        if "._" not in info.name and hasattr(importlib.import_module(info.name), "__all__"):
            found.add(info.name)
    assert found == {*MODULES, "parallel_mcmc.cli"}


def test_a_docstring_that_python_makes_up_is_none():
    assert own_docstring(dataclasses.make_dataclass("Point", ["x"])) is None
    assert own_docstring(collections.namedtuple("Point", ["x"])) is None


def test_no_name_is_on_two_pages():
    assert len(DIRECTIVES) == len(set(DIRECTIVES))


def described(name):
    """Return what the reference has to show for a public name."""
    thing = resolve(name)
    # A kernel's class is described by the function that makes it.
    made_by = re.search(r"made by :func:`(\w+)`", thing.__doc__ or "")
    return resolve(f"{name.rpartition('.')[0]}.{made_by[1]}") if made_by else thing


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_in_the_reference(name):
    assert any(described(name) is shown for shown in covered())


@pytest.mark.slow
def test_public_names_are_on_the_built_pages(site):
    heading = re.compile(r'<h\d id="(parallel_mcmc\.[\w.]+)" class="doc doc-heading">')
    pages = [page.read_text() for page in sorted((site / "api").rglob("*.html"))]
    headings = {name for page in pages for name in heading.findall(page)}
    assert {f"parallel_mcmc.{name}" for name in parallel_mcmc.__all__} <= headings
    shown = [resolve(name) for name in headings if name.rpartition(".")[0] in MODULES]
    missing = [name for name in PUBLIC if not any(described(name) is thing for thing in shown)]
    assert not missing


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring(name):
    thing = resolve(name)
    assert own_docstring(thing), name
    undocumented = [member for member, value in members(thing) if not inspect.getdoc(value)]
    assert not undocumented


@pytest.mark.parametrize("name", [name for name in DIRECTIVES if name not in PUBLIC])
def test_what_is_not_exported_is_a_module(name):
    assert inspect.ismodule(resolve(name)) and name in MODULES
