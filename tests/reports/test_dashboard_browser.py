"""The dashboard beside a search, in a real browser: headless Chromium."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.reports.browsing import chromium
from tests.reports.test_dashboard import launched
from tests.studies.test_faults import SCRIPT, trained, wait_for

FAKES = Path(__file__).parents[1] / "fakes"
WAIT_MS = 60_000


@pytest.fixture
def searching(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A search of made-up students in the background, each of two seconds, with some trials."""
    (tmp_path / "parent.py").write_text(SCRIPT)
    (tmp_path / "fake.json").write_text(json.dumps({"seconds": 2.0}))
    own = [sys.executable, tmp_path / "parent.py", tmp_path, "500", "1", "", str(FAKES)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # a device lock of its own
    process = subprocess.Popen(
        [*own, *sys.path], stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )
    try:
        wait_for(lambda: trained(tmp_path) >= 2)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """An empty page of a Chromium of its own."""
    with chromium(tmp_path / "profile") as browser:
        opened = browser.new_page()
        opened.set_default_timeout(WAIT_MS)
        yield opened


@pytest.mark.slow
def test_dashboard_lists_trials_with_images_and_our_figure_while_a_search_runs(
    searching: subprocess.Popen[bytes], page: Page, tmp_path: Path
) -> None:
    asked: set[str | None] = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
    storage = f"sqlite:///{tmp_path}/studies.db"
    with launched(storage, tmp_path / "artifacts") as (_, address):
        page.goto(f"{address}studies/1")
        check_figures(page)
        page.goto(f"{address}studies/1/trials?numbers=0")
        check_samples(page, 0)
        before = newest(tmp_path)
        wait_for(lambda: newest(tmp_path) > before)
        later = newest(tmp_path)
        page.get_by_text(f"Trial {later}", exact=True).first.click()  # without a reload
        check_samples(page, later)
        page.goto(f"{address}studies/1/note")
        expect(page.get_by_text("The pick so far.")).to_be_visible(timeout=WAIT_MS)
        assert searching.poll() is None
    assert asked == {"127.0.0.1"}


def newest(workspace: Path) -> int:
    """The number of the last trial that has left samples."""
    found = workspace.glob("studies/fake/trials/*/samples.png")
    return max(int(path.parent.name) for path in found)


def check_figures(page: Page) -> None:
    """Our figures are drawn, with the front in them."""
    for name, title in (("latency", "latency"), ("size", "model size")):
        figure = page.locator(f'[id="user-defined-plot:ado-{name}"]')
        figure.locator(".scatterlayer .point").first.wait_for(state="attached")
        assert f"Retention against {title}" in figure.inner_text()
        assert "On the front" in figure.inner_text()


def check_samples(page: Page, number: int) -> None:
    """The trial's note says what it gains, under its sample grid as it was saved."""
    samples = page.get_by_alt_text(f"Samples of trial {number}", exact=True)
    expect(samples).to_be_visible(timeout=WAIT_MS)
    wait_for(lambda: samples.evaluate("image => image.naturalWidth") == 8, WAIT_MS / 1000)
    expect(page.get_by_text("faster (").first).to_be_visible(timeout=WAIT_MS)
