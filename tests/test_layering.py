"""Imports inside the package go one way."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "parallel_mcmc"
# A module may import from layers with a smaller number, and from its own package.
CORE = {
    "_errors": 0,
    "_tree": 0,
    "solver": 1,
    "kernels": 2,
    "warmup": 3,
    "choice": 3,
    "recording": 3,
    "segments": 4,
    "sampling": 5,
    "store": 6,
}
LEAF = 7  # everything else: adapters, plots, data, command line


def owner(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if owner(path) in CORE)


def layer(name):
    return CORE.get(name, LEAF)


def imported(tree):
    """Yield the modules of parallel_mcmc imported at the top of a module, without the prefix.

    A function may import an adapter when it is called.
    """
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("parallel_mcmc."):
                yield name.split(".")[1]


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_imports_point_down(path):
    own = owner(path)
    names = set(imported(ast.parse(path.read_text()))) - {own}
    # _errors and _tree stand side by side.
    wrong = {name for name in names if layer(name) >= max(layer(own), 1)}
    assert not wrong
