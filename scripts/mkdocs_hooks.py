"""Hooks of the site: notebooks become pages, and mathematics becomes MathML.

Both happen when the site is built, so it loads nothing from other hosts and needs no script.
"""

import html
import pathlib
import re

from latex2mathml.converter import convert
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = pathlib.Path(__file__).parents[1]
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
# A function's name and its argument without brackets: MathML would set them without a space.
APPLIED = re.compile(r"(\\(?:log|exp|sin|cos)(?:_\w)?) (?=[\w\\])")


def notebooks():
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def on_config(config):
    """List the notebooks in the navigation, by their names; their headings are the titles."""
    tutorials = next(tab["Tutorials"] for tab in config.nav if "Tutorials" in tab)
    section = next(entry for entry in tutorials if "Notebooks" in entry)
    section["Notebooks"] = [f"notebooks/{path.stem}.md" for path in notebooks()]
    return config


def on_files(files, config):
    """Add ``notebooks/NAME.md``, with its figures, for every notebook."""
    for path in notebooks():
        body, resources = MarkdownExporter().from_filename(
            str(path), resources={"output_files_dir": path.stem}
        )
        body = body.replace("](../docs/", "](../")  # docs/ is the root of the site
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=body))
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_content(content, page, config, files):
    """Convert the formulas that pymdownx.arithmatex has marked."""

    def mathml(match):
        latex = APPLIED.sub(r"\1\, ", html.unescape(match["latex"]))
        if match["tag"] == "div":
            return f'<div class="formula">{convert(latex, display="block")}</div>'
        return convert(latex)

    return FORMULA.sub(mathml, content)
