"""What users read is executed: the code of the README and of every page, and the notebooks."""

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
FILE = re.compile(r"`((?:benchmarks|docs|notebooks|parallel_mcmc|scripts|tests)/[a-z0-9_/]+\.\w+)`")
PAGES = {str(path.relative_to(ROOT / "docs")): path for path in (ROOT / "docs").rglob("*.md")}
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
# A block with the title of a file quotes it; the others are a program, from the top to the bottom.
BLOCKS = {name: FENCE.findall(path.read_text()) for name, path in sorted(PAGES.items())}
PROGRAMS = {
    name: [code for title, code in blocks if not title]
    for name, blocks in BLOCKS.items()
    if not all(title for title, _ in blocks)
}
QUOTATIONS = [
    pytest.param(title, code, id=f"{name}-{number}")
    for name, blocks in BLOCKS.items()
    for number, (title, code) in enumerate(blocks)
    if title
]
SLOW = {
    "explanation/rounding.md",
    "explanation/safeguards.md",
    "explanation/stability.md",
    "howto/devices.md",
    "howto/diagnose.md",
    "howto/methods.md",
    "howto/tune.md",
    "long_runs.md",
    "quickstart.md",
    "tutorials/gibbs.md",
    "tutorials/kernel.md",
    "tutorials/rnn.md",
}


def check_diagnosis(names):
    good, bad = names["reports"]
    assert good.iterations < 10 and good.fallback_steps == 0 and good.largest_gain > 100
    assert bad.fallback_steps > 500 and bad.largest_gain < 2 and bad.condition_number > 90
    assert names["tuned"].condition_number < 10
    # The lines that the page shows, and those that it explains, are those of a report.
    page = PAGES["howto/diagnose.md"].read_text()
    labels = {line[:20].strip() for line in f"{good}\n{bad}".splitlines()}
    shown = "".join(re.findall(r"```text\n(.*?)```", page, re.DOTALL))
    assert {line[:20].strip() for line in shown.splitlines()} == labels
    assert set(re.findall(r"^\| (\w[\w ]+?) \|", page, re.MULTILINE)) - {"line"} <= labels


def check_long_runs(names):
    assert names["thinned"]["x"].shape == (4, 1000, 3)


# What a page says of its results, beyond that its code runs.
CHECKS = {"howto/diagnose.md": check_diagnosis, "long_runs.md": check_long_runs}


def test_readme_has_an_example_for_each_kind_of_user():
    assert len(EXAMPLES) == README.count("```python") == 4


@pytest.mark.parametrize("code", [pytest.param(code, id=title) for title, code in EXAMPLES])
def test_readme_example(code):
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(
    "page",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in PROGRAMS],
)
def test_page(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # some write files
    names = {"__name__": "__main__"}
    for number, code in enumerate(PROGRAMS[page]):
        exec(compile(code, f"{page}, block {number}", "exec"), names)
    assert "False" not in capsys.readouterr().out  # some print whether they converged
    CHECKS.get(page, lambda names: None)(names)


def test_what_is_said_of_a_page_is_said_of_one():
    assert SLOW | CHECKS.keys() <= PROGRAMS.keys()


def test_every_block_of_python_is_found():
    for name, path in PAGES.items():
        assert len(BLOCKS[name]) == path.read_text().count("```py"), name


def test_every_guide_quotes_the_package():
    guides = {block.id.rpartition("-")[0] for block in QUOTATIONS}
    names = ("adapter", "jacobian", "kernel", "safeguard")
    assert guides == {f"contributing/{name}.md" for name in names}


@pytest.mark.parametrize(("path", "code"), QUOTATIONS)
def test_quotation(path, code):
    assert "\n" + code in (ROOT / path).read_text(), f"no longer in {path}, word for word"


@pytest.mark.parametrize("page", ["../README.md", "../CONTRIBUTING.md", *PAGES])
def test_paths_on_a_page_exist(page):
    for path in FILE.findall((ROOT / "docs" / page).read_text()):
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
