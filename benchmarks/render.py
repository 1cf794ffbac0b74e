"""Write the tables and figures of kept results into the documentation.

    python benchmarks/render.py [--results results/2-cpu-cores.json] [--check]

In ``docs/performance.md`` and ``docs/reliability.md`` what stands between ``<!-- table: NAME -->``
and ``<!-- end -->`` becomes the table NAME of the results, with a line that says where and when it
was taken; with ``<!-- table: NAME | heading; heading -->`` only those columns. Figures go to
``docs/images``.
"""

import argparse
import json
import pathlib
import re
import sys

from harness import RESULTS, ROOT, shown

PAGES = (ROOT / "docs" / "performance.md", ROOT / "docs" / "reliability.md")
SCALING = ROOT / "docs" / "images" / "scaling.svg"
MARK = re.compile(r"<!-- table: ([^|>]*?)(?: \| ([^>]*?))? -->\n.*?<!-- end -->", re.DOTALL)


def markdown(table, wanted=None):
    """Return a table in Markdown, numbers to the right, and its stamp under it."""
    heads = list(table["columns"])
    chosen = [heads.index(head) for head in wanted] if wanted else range(len(heads))
    specs = [table["columns"][heads[i]] for i in chosen]
    rules = ["---" if "<" in spec else "---:" for spec in specs]
    lines = [_row([heads[i] for i in chosen]), _row(rules)]
    lines += [
        _row([shown(row[i], spec, "–") for i, spec in zip(chosen, specs, strict=True)])
        for row in table["rows"]
    ]
    return "\n".join(lines) + f"\n\n*{stamp_line(table['stamp'])}*"


def _row(cells):
    return "| " + " | ".join(cells) + " |"


def stamp_line(stamp):
    """Return what the figures depend on, in one line."""
    versions = f"JAX {stamp['jax']}, BlackJAX {stamp['blackjax']}, NumPyro {stamp['numpyro']}"
    return (
        f"{stamp['date']}, commit {stamp['commit']}, {versions}, Python {stamp['python']}, "
        f"{stamp['device']} ({stamp['processor']}), {stamp['precision']}."
    )


def filled(text, tables):
    """Return the page with the tables of ``tables`` in their places."""

    def table(match):
        name, wanted = match[1], match[2]
        if name not in tables:
            return match[0]
        opening = match[0].partition("\n")[0]
        columns = wanted.split("; ") if wanted else None
        return f"{opening}\n\n{markdown(tables[name], columns)}\n\n<!-- end -->"

    return MARK.sub(table, text)


def draw_scaling(tables):
    """Draw iterations, time and memory against everything that grows, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    # Equal results make equal files.
    matplotlib.rcParams["svg.hashsalt"] = "scaling"
    import matplotlib.pyplot as plt

    axes = [name for name in tables if name.startswith("scaling: ")]
    figures = {
        "iterations": ["iterations"],
        "µs a draw": ["µs a draw", "by the loop, µs"],
        "memory, MiB": ["memory, MiB"],
    }
    labels = {"µs a draw": "parallel", "by the loop, µs": "loop"}
    # Of one scale in each row, lest an iteration more looks like a cliff.
    shared = {"sharex": "col", "sharey": "row", "squeeze": False}
    figure, panels = plt.subplots(len(figures), len(axes), figsize=(3 * len(axes), 7), **shared)
    for column, name in enumerate(axes):
        heads = list(tables[name]["columns"])
        for row, (title, lines) in enumerate(figures.items()):
            panel = panels[row][column]
            for head in lines:
                points = [
                    (cells[0], cells[heads.index(head)])
                    for cells in tables[name]["rows"]
                    if cells[heads.index(head)]
                ]
                panel.loglog(*zip(*points, strict=True), marker="o", label=labels.get(head))
            if len(lines) > 1:
                panel.legend(fontsize=8)
            if column == 0:
                panel.set_ylabel(title)
            if row == len(figures) - 1:
                panel.set_xlabel(heads[0])
            panel.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(SCALING, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = RESULTS / "2-cpu-cores.json"
    parser.add_argument("--results", type=pathlib.Path, default=default)
    parser.add_argument("--check", action="store_true", help="only say whether the pages are so")
    options = parser.parse_args()
    tables = json.loads(options.results.read_text())
    texts = {page: filled(page.read_text(), tables) for page in PAGES}
    if options.check:
        sys.exit(any(text != page.read_text() for page, text in texts.items()))
    for page, text in texts.items():
        page.write_text(text)
    if any(name.startswith("scaling: ") for name in tables):
        draw_scaling(tables)


if __name__ == "__main__":
    main()
