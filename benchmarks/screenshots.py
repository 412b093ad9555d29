"""Takes the pictures under ``docs/images``: ``python -m benchmarks.screenshots STUDY``.

The report of a finished study, wide, narrow and dark, and the pages of the dashboard, as a real
Chromium shows them.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
VIEWS = {"wide": (1280, 900, False), "narrow": (390, 844, False), "dark": (1280, 900, True)}
"""Width and height of the views of a report, px, and whether they are dark."""

PAGES = {
    "study": ("/studies/{id}", '[id="user-defined-plot:ado-latency"] .scatterlayer .point'),
    "trial": ("/studies/{id}/trials?numbers=0", 'img[alt="Samples of trial 0"]'),
    "note": ("/studies/{id}/note", 'text="The pick so far."'),
}
"""Of the dashboard: the place below its address, and what is waited for and shown."""


def take(study: str, workspace: Path) -> list[Path]:
    """Take all pictures.

    Args:
        study: its name; it has ended.
        workspace: where it is; its report is written again.

    Returns:
        The paths written.
    """
    IMAGES.mkdir(parents=True, exist_ok=True)
    with _browser() as browser:
        return [*_report(browser, study, workspace), *_dashboard(browser, workspace)]


def _report(browser: Browser, study: str, workspace: Path) -> list[Path]:
    _command("report", study, "--workspace", str(workspace))
    page_file = (workspace / "studies" / study / "report" / "report.html").resolve()
    written = []
    for name, (width, height, dark) in VIEWS.items():
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page.goto(page_file.as_uri())
        page.wait_for_selector("html[data-ready]")
        written.append(_picture(page, f"report-{name}"))
        page.close()
    return written


def _dashboard(browser: Browser, workspace: Path) -> list[Path]:
    written = []
    with _served(workspace) as address:
        for name, (place, shown) in PAGES.items():
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(address + place.format(id=1), wait_until="networkidle")
            page.locator(shown).first.wait_for(state="attached")
            page.locator(shown).first.scroll_into_view_if_needed()
            page.wait_for_timeout(1000)  # what moves comes to rest
            written.append(_picture(page, f"dashboard-{name}"))
            page.close()
    return written


def _picture(page: Page, name: str) -> Path:
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    return path


def _command(*words: str) -> None:
    subprocess.run([sys.executable, "cli.py", *words], check=True)


@contextlib.contextmanager
def _served(workspace: Path) -> Iterator[str]:
    """A dashboard for a while, and its address."""
    words = [sys.executable, "cli.py", "dashboard", "--port", "0", "--workspace", str(workspace)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = next(line for line in process.stdout if "http://" in line)
        yield found[found.index("http://") :].strip().rstrip("/")
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        sys.exit("no chromium on PATH; install Debian's package of that name")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=executable, headless=True, args=list(FLAGS)
        )
        yield browser
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--workspace", type=Path, default=Path("ado-runs"))
    given = parser.parse_args()
    for path in take(given.study, given.workspace):
        print(path.relative_to(IMAGES.parents[1]))
