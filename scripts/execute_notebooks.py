"""Execute notebooks in place, and keep of them what does not change from run to run.

python scripts/execute_notebooks.py [NAME ...]

NAME is a part of a notebook's name, such as 02; all notebooks are executed by default. One that
fails, or whose outputs are not fit to be committed, is left as it was.
"""

import argparse
import pathlib
import sys
import time

import nbformat
from nbclient import NotebookClient

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
LARGEST_OUTPUT = 500_000
"""Characters of one cell's outputs: a large figure of traces has 300,000."""


def texts(output):
    """Return the text parts of an output, an error's traceback included."""
    data = output.get("data", {})
    parts = [data.get("text/plain", ""), data.get("text/html", ""), output.get("text", "")]
    return [*parts, *output.get("traceback", [])]


def faults(notebook):
    """Return what keeps a notebook's outputs from being committed, in words."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("not executed from the top to the bottom")
    for cell in code:
        first = cell.source.splitlines()[0]
        for output in cell.outputs:
            text = "".join(texts(output))
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"a warning or an error under {first!r}: {text.strip()[:300]}")
            if " at 0x" in text:
                found.append(f"an address of memory under {first!r}")
            if any(path in text for path in ("/home/", "/root/", "/tmp/", "/work/", str(FOLDER))):
                found.append(f"a path of this machine under {first!r}")
            if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
                found.append(f"a widget under {first!r}")
        if len(str(cell.outputs)) > LARGEST_OUTPUT:
            found.append(f"outputs of {len(str(cell.outputs)):,} characters under {first!r}")
    return found


def cleaned(notebook):
    """Return the notebook with numbered cells, and without the traces of one run."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = {}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(path):
    """Execute one notebook in place and return its faults; with any, it is left as it was."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=600,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": path.parent}},
    ).execute()
    found = faults(notebook)
    if not found:
        nbformat.write(cleaned(notebook), path)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of notebooks' names; default: all")
    names = parser.parse_args().names
    paths = sorted(FOLDER.glob("*.ipynb"))
    unknown = [name for name in names if not any(name in path.stem for path in paths)]
    if unknown:
        parser.error(f"no notebook has {unknown[0]!r} in its name")
    failed = False
    for path in paths:
        if names and not any(name in path.stem for name in names):
            continue
        begin = time.perf_counter()
        found = execute(path)
        print(f"{path.name}: {time.perf_counter() - begin:.0f} s", *found, sep="\n  ", flush=True)
        failed |= bool(found)
    sys.exit(failed)


if __name__ == "__main__":
    main()
