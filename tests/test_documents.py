"""What users read is executed: the examples of the README and the notebooks."""

import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^### ([^\n]+)\n.*?```python\n(.*?)```", README, re.DOTALL | re.MULTILINE)
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_readme_has_an_example_for_each_kind_of_user():
    assert len(EXAMPLES) == README.count("```python") == 4


@pytest.mark.parametrize("code", [pytest.param(code, id=title) for title, code in EXAMPLES])
def test_readme_example(code):
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


def test_long_runs(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "long_runs.md").read_text()
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "long_runs.md", "exec"), names)
    assert names["thinned"]["x"].shape == (4, 1000, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name):
    path = ROOT / "notebooks" / name
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}}).execute()
