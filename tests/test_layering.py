"""Imports inside the package go one way."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "parallel_mcmc"
# A module may import from layers with a smaller number, and from its own package.
CORE = {
    "_errors": 0,
    "_precision": 0,
    "_tree": 0,
    "rows": 1,
    "solver": 1,
    "kernels": 2,
    "choice": 3,
    "placement": 3,
    "recording": 3,
    "warmup": 4,
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
    # _errors, _precision and _tree stand side by side.
    wrong = {name for name in names if layer(name) >= max(layer(own), 1)}
    assert not wrong


def test_picture_shows_every_module_in_its_row():
    picture = (ROOT / "docs" / "contributing" / "architecture.svg").read_text()
    labels = re.findall(r'y="(\d+)" text-anchor="middle"[^>]*>(\w+)<', picture)
    rows = {name: int(y) for y, name in labels}
    names = {owner(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"}
    assert set(rows) == names
    # Rows are drawn from the top, layers are counted from the bottom.
    order = sorted(set(rows.values()), reverse=True)
    assert {name: order.index(y) for name, y in rows.items()} == {n: layer(n) for n in names}
