"""Open every page of the built site in a browser without a network, and report what is wrong.

    python scripts/check_site.py [--site site] [--browser PATH] [--screenshots DIR --pages PAGE ...]

The site is served on the loopback interface, and every request to another host is refused. Reported
are such requests, errors and warnings on the console, exceptions of scripts, missing files,
pictures that do not load, formulas left as LaTeX, code without a button to copy it, and pages wider
than a narrow screen; besides, whether the search finds something and the colours change. The exit
status is 1 if there is anything to report.

It needs Playwright (the extra `site`) and Chromium, which Playwright starts from where it is
installed (Debian: the package chromium).
"""

import argparse
import contextlib
import functools
import http.server
import os
import pathlib
import shutil
import sys
import threading
import urllib.parse

from playwright.sync_api import Error, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = {"width": 1440, "height": 1000}, {"width": 390, "height": 844}
SCHEMES = ("light", "dark")
# The second line of defence, beside the requests that are intercepted.
FLAGS = ("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--no-proxy-server")

FAULTS_OF_A_PAGE = r"""
() => {
  const faults = []
  for (const image of document.images)
    if (image.naturalWidth === 0) faults.push(`no picture: ${image.src}`)
  const text = document.querySelector("article")?.cloneNode(true) ?? document.createElement("div")
  text.querySelectorAll("pre, code").forEach(element => element.remove())
  const formula = text.textContent.match(/\\[(\[].{0,40}/)
  if (formula) faults.push(`a formula is left as LaTeX: ${formula[0]}`)
  for (const block of document.querySelectorAll("article .highlight pre"))
    if (!block.querySelector("[data-md-type=copy]"))
      faults.push(`no button to copy: ${block.textContent.trim().slice(0, 40)}`)
  return faults
}
"""
# What is cut off at the right, and cannot be scrolled to.
CUT_OFF = """
() => {
  const width = document.documentElement.clientWidth
  const scrolls = element => element !== null && element !== document.documentElement
    && (["auto", "scroll"].includes(getComputedStyle(element).overflowX)
        || scrolls(element.parentElement))
  for (const element of document.querySelectorAll("article *, body > *"))
    if (element.getBoundingClientRect().right > width + 1 && !scrolls(element))
      return `${element.tagName} ${element.textContent.trim().slice(0, 40)}`
  return ""
}
"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def served(folder):
    """Serve a folder on a free port, and yield its address."""
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def browser(executable):
    """Start the browser; as root it runs only without its sandbox."""
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*FLAGS]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=flags)
        try:
            yield started
        finally:
            started.close()


class Watch:
    """A tab in which everything that goes wrong is noted."""

    def __init__(self, browser, address, viewport, scheme="light"):
        self.address = address
        self.faults = []
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        context.route("**/*", self._admit)
        self.tab = context.new_page()
        self.tab.on("console", self._console)
        self.tab.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        self.tab.on("response", self._response)

    def _admit(self, route):
        url = route.request.url
        if urllib.parse.urlsplit(url).scheme in ("http", "https") and not url.startswith(
            self.address
        ):
            self.faults.append(f"request to another host: {url}")
            route.abort()
        else:
            route.continue_()

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.faults.append(f"console {message.type}: {message.text}")

    def _response(self, response):
        if response.status >= 400:
            self.faults.append(f"status {response.status}: {response.url}")

    def open(self, page):
        """Open a page, with all its pictures, and return what was wrong until then."""
        self.faults.clear()
        try:
            self.tab.goto(self.address + page, wait_until="load")
            # A page that is loaded piece by piece would hide what is missing further down.
            self.tab.evaluate("for (const image of document.images) image.loading = 'eager'")
            self.tab.wait_for_load_state("networkidle")
        except Error as error:
            self.faults.append(f"does not load: {error}")
        return self.faults


def check_page(watch, page):
    """Return what is wrong with a page."""
    faults = [*watch.open(page), *watch.tab.evaluate(FAULTS_OF_A_PAGE)]
    watch.tab.set_viewport_size(NARROW)
    cut_off = watch.tab.evaluate(CUT_OFF)
    watch.tab.set_viewport_size(WIDE)
    if cut_off:
        faults.append(f"wider than a screen of {NARROW['width']} pixels: {cut_off}")
    return faults


def check_search(watch, words):
    """Return what is wrong with the search, which runs in the browser."""
    faults = watch.open("")
    watch.tab.click("label.md-search__icon[for=__search]", force=True)
    watch.tab.locator("input.md-search__input").press_sequentially(words)
    try:
        watch.tab.wait_for_selector(".md-search-result__item", timeout=10_000)
    except Error:
        faults.append(f"the search finds nothing for {words!r}")
    return list(faults)


def check_colours(watch):
    """Return what is wrong with the switch from light to dark."""
    faults = watch.open("")
    before = watch.tab.get_attribute("body", "data-md-color-scheme")
    watch.tab.click("label.md-header__button[for^=__palette]:visible")
    after = watch.tab.get_attribute("body", "data-md-color-scheme")
    if {before, after} != {"default", "slate"}:
        faults.append(f"the switch of the colours goes from {before} to {after}")
    return list(faults)


def take_screenshots(browser, address, pages, folder):
    """Write every page, wide and narrow, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for width, viewport in {"wide": WIDE, "narrow": NARROW}.items():
        for scheme in SCHEMES:
            watch = Watch(browser, address, viewport, scheme)
            for page in pages:
                watch.open(page)
                name = page.strip("/").replace("/", "-") or "index"
                watch.tab.screenshot(path=folder / f"{name}-{width}-{scheme}.png")


def check(site, executable, search):
    """Return all faults, by page."""
    pages = sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))
    with served(site) as address, browser(executable) as started:
        watch = Watch(started, address, WIDE)
        faults = {page: check_page(watch, page) for page in pages}
        if search:
            faults["the search"] = check_search(watch, search)
            faults["the colours"] = check_colours(watch)
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--site", type=pathlib.Path, default=pathlib.Path("site"))
    parser.add_argument("--browser", help="the browser's program (default: Chromium, if installed)")
    parser.add_argument(
        "--search",
        default="Lyapunov",
        help='what the search has to find; "" leaves out search and colours',
    )
    parser.add_argument("--screenshots", type=pathlib.Path, metavar="DIR", help="take pictures")
    parser.add_argument("--pages", nargs="+", default=[""], help="pages to take pictures of")
    options = parser.parse_args()
    executable = options.browser or next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        parser.error("no Chromium found: install it, or name it by --browser")
    if not (options.site / "index.html").is_file():
        parser.error(f"no site in {options.site}: build it by `make docs`")
    if options.screenshots:
        with served(options.site) as address, browser(executable) as started:
            take_screenshots(started, address, options.pages, options.screenshots)
        return 0
    faults = check(options.site, executable, options.search)
    for page, lines in faults.items():
        for line in lines:
            print(f"{page}: {line}")
    bad = sum(map(bool, faults.values()))
    print(f"{len(faults)} pages and functions checked, {bad} with faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
