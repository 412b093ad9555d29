"""A real browser for the tests of pages: headless Chromium, with nothing but file: allowed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, sync_playwright

from benchmarks.screenshots import FLAGS

SPEED = ("GPU stall", "willReadFrequently")  # what Chromium says of drawing without a GPU
DRAWN = "Array.from(document.querySelectorAll('.js-plotly-plot'), plot => plot.id)"
NEAR = """Array.from(document.querySelectorAll('.plot')).filter(plot => {
  const { top, bottom, height } = plot.getBoundingClientRect();
  return height && bottom > -200 && top < innerHeight + 200;
}).map(plot => plot.id)"""


@dataclass
class Opened:
    """A page with everything it said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        """Note a complaint, but not that this machine has no GPU."""
        if not any(words in message.text for words in SPEED):
            self.said.append(f"{message.type}: {message.text}")

    def alert(self, dialog: Dialog) -> None:
        """Note a dialog, which no report opens."""
        self.said.append(dialog.message)
        dialog.dismiss()


def until(condition: Callable[[], bool]) -> None:
    """Wait here: the page's own policy forbids the script that Playwright would wait with."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited for 30 s"
        time.sleep(0.05)


@contextmanager
def chromium(profile: Path) -> Iterator[BrowserContext]:
    """One Chromium with a profile of its own."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium on PATH")
    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(profile),
            executable_path=executable,
            headless=True,
            args=list(FLAGS),
            viewport={"width": 1280, "height": 900},
        )
        yield context
        context.close()


def load(browser: BrowserContext, path: Path, section: str = "", before: str = "") -> Opened:
    """Open a page and wait until its script has run.

    Args:
        browser: where.
        path: of the page.
        section: to open it at.
        before: a script that runs before those of the page.
    """
    opened = Opened(browser.new_page())
    page = opened.page
    page.on("console", opened.console)
    page.on("pageerror", lambda error: opened.said.append(str(error)))
    page.on("dialog", opened.alert)
    page.on("request", lambda request: opened.asked.append(request.url))
    if before:
        page.add_init_script(before)
    page.goto(path.as_uri() + section)
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    return opened


def bring(page: Page, name: str) -> None:
    """Scroll to a figure, which draws it.

    Args:
        page: that has it.
        name: of the figure.
    """
    page.locator(f"#plot-{name}").scroll_into_view_if_needed()
    until(lambda: f"plot-{name}" in page.evaluate(DRAWN))


def paint(page: Page) -> None:
    """Draw every figure that is not closed away."""
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
