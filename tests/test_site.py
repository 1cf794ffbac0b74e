"""The built site: whole, and without a fault in a browser that has no network."""

import importlib.util
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
MISSING = [
    *([] if BROWSER else ["Chromium"]),
    *([] if importlib.util.find_spec("playwright") else ["Playwright"]),
]
# A page each, with one fault, and what has to be said of it.
FAULTS = {
    "console": ("<script>console.error('boom')</script>", "console error: boom"),
    "exception": ("<script>throw new Error('bang')</script>", "exception: bang"),
    "missing": ("<img src='nowhere.png'>", "status 404"),
    "picture": ("<img src='page.txt'>", "no picture"),
    "host": ("<script src='https://example.org/x.js'></script>", "request to another host"),
    "fetch": ("<script>fetch('https://example.org/').catch(() => 0)</script>", "another host"),
    "formula": ("<article><p>Let \\(x = 1\\).</p></article>", "a formula is left as LaTeX: \\(x"),
    "code": ("<article class='highlight'><div class='highlight'><pre>x = 1</pre></div></article>",
             "no button to copy: x = 1"),
    "wide": ("<div style='width: 2000px'>text</div>", "of 390 pixels: DIV text"),
    "cut": ("<article style='overflow: hidden'><p style='width: 500px'>text</p></article>",
            "of 390 pixels: P text"),
}  # fmt: skip
SOUND = (
    "<article><p>Code may hold <code>\\(x\\)</code>.</p>"
    "<div style='overflow-x: auto'><p style='width: 500px'>This can be scrolled to.</p></div>"
    "</article>"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}"),
]


def check(folder, *options):
    """Return the exit status of the check and the lines that it prints."""
    command = [sys.executable, "scripts/check_site.py", f"--site={folder}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_no_page_has_a_fault(site):
    status, lines = check(site)
    assert status == 0, lines
    pages = len(list(site.rglob("*.html")))
    assert lines == [f"{pages + 2} pages and functions checked, 0 with faults"]


def test_the_check_sees_faults(tmp_path):
    (tmp_path / "page.txt").write_text("no picture")
    for name, (body, _) in {**FAULTS, "index": (SOUND, "")}.items():
        (tmp_path / f"{name}.html").write_text(f"<!doctype html><title>{name}</title>{body}")
    status, lines = check(tmp_path, "--search=")
    assert status == 1
    for name, (_, message) in FAULTS.items():
        said = [line for line in lines if line.startswith(f"{name}.html: ")]
        assert any(message in line for line in said), (name, lines)
    assert not any(line.startswith("index.html") for line in lines)
    assert lines[-1] == f"{len(FAULTS) + 1} pages and functions checked, {len(FAULTS)} with faults"


def test_the_check_sees_a_search_that_finds_nothing(site, tmp_path):
    landing = tmp_path / "landing"
    for part in ("assets", "search"):
        shutil.copytree(site / part, landing / part)
    shutil.copy(site / "index.html", landing)
    status, lines = check(landing, "--search=wordthatisnowhere")
    assert status == 1
    assert "the search: the search finds nothing for 'wordthatisnowhere'" in lines


def test_pictures_of_a_page(site, tmp_path):
    assert check(site, f"--screenshots={tmp_path}", "--pages", "", "method/") == (0, [])
    names = {f"{page}-{width}-{scheme}.png" for page in ("index", "method")
             for width in ("wide", "narrow") for scheme in ("light", "dark")}  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == names
    pictures = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(set(pictures)) == len(names)
