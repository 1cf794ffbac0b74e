"""What users read is executed: the examples of the README and the notebooks."""

import pathlib
import re
import runpy

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^### ([^\n]+)\n.*?```python\n(.*?)```", README, re.DOTALL | re.MULTILINE)
FENCE = re.compile(r'^```python(?: title="([^"]+)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)
FILE = re.compile(r"`((?:docs|parallel_mcmc|tests)/[a-z_/]+\.(?:md|py))`")
PAGES = sorted((ROOT / "docs" / "contributing").glob("*.md"))
BLOCKS = [
    pytest.param(title, code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, (title, code) in enumerate(FENCE.findall(page.read_text()))
]
QUOTATIONS = [block for block in BLOCKS if block.values[0]]
PROGRAMS = [block for block in BLOCKS if not block.values[0]]
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
def test_diagnosis():
    page = (ROOT / "docs" / "howto" / "diagnose.md").read_text()
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "diagnose.md", "exec"), names)
    good, bad = names["reports"]
    assert good.iterations < 10 and good.fallback_steps == 0 and good.largest_gain > 100
    assert bad.fallback_steps > 500 and bad.largest_gain < 2 and bad.condition_number > 90
    assert names["tuned"].condition_number < 10
    # The lines that the page shows, and those that it explains, are those of a report.
    labels = {line[:20].strip() for line in f"{good}\n{bad}".splitlines()}
    shown = "".join(re.findall(r"```text\n(.*?)```", page, re.DOTALL))
    assert {line[:20].strip() for line in shown.splitlines()} == labels
    assert set(re.findall(r"^\| (\w[\w ]+?) \|", page, re.MULTILINE)) - {"line"} <= labels


def test_every_guide_quotes_the_package():
    assert len(BLOCKS) == sum(page.read_text().count("```python") for page in PAGES)
    guides = {block.id.split("-")[0] for block in QUOTATIONS}
    assert guides == {"adapter", "jacobian", "kernel", "safeguard"}


@pytest.mark.parametrize(("path", "code"), QUOTATIONS)
def test_quotation(path, code):
    assert "\n" + code in (ROOT / path).read_text(), f"no longer in {path}, word for word"


@pytest.mark.parametrize(("_", "code"), PROGRAMS)
def test_program_of_a_guide(_, code, capsys):
    exec(compile(code, "guide", "exec"), {"__name__": "__main__"})
    assert "False" not in capsys.readouterr().out  # each prints whether it converged


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_paths_in_a_guide_exist(page):
    for path in FILE.findall(page.read_text()):
        assert (ROOT / path).is_file(), path


@pytest.fixture(scope="module")
def faults():
    return runpy.run_path(str(ROOT / "scripts" / "execute_notebooks.py"))["faults"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_outputs(name, faults):
    assert faults(nbformat.read(ROOT / "notebooks" / name, as_version=4)) == []


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ({"output_type": "stream", "name": "stderr", "text": "Warning: beware"}, "beware"),
        ({"output_type": "stream", "name": "stdout", "text": "/home/me/data"}, "a path"),
        ({"output_type": "stream", "name": "stdout", "text": "x" * 600_000}, "characters"),
        (
            {
                "output_type": "execute_result",
                "execution_count": 1,
                "data": {"text/plain": "<Axes at 0x7f>"},
                "metadata": {},
            },
            "an address",
        ),
        (
            {
                "output_type": "error",
                "ename": "ValueError",
                "evalue": "no",
                "traceback": ["ValueError: no"],
            },
            "ValueError: no",
        ),
    ],
)
def test_outputs_that_are_not_committed(output, fault, faults):
    cell = nbformat.v4.new_code_cell("run()", execution_count=1)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert faults(notebook) == []
    cell.outputs = [nbformat.from_dict(output)]
    (found,) = faults(notebook)
    assert fault in found and "'run()'" in found
    cell.execution_count = None
    assert len(faults(notebook)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name):
    path = ROOT / "notebooks" / name
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}}).execute()
