"""The report in a real browser: headless Chromium, with nothing but file: allowed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Dialog, Page, sync_playwright

from reports.page import write_report
from reports.tradeoff import write_tradeoff
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCRIPT = "<script>alert(1)</script>"


@dataclass
class Opened:
    """A page with everything it said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """One Chromium with a profile of its own."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium on PATH")
    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=executable,
            headless=True,
            args=list(FLAGS),
            viewport={"width": 1280, "height": 900},
        )
        yield context
        context.close()


def load(browser: BrowserContext, path: Path) -> Opened:
    """Open a report and wait until its script has run."""
    opened = Opened(browser.new_page())
    page = opened.page
    page.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: opened.said.append(str(error)))
    page.on("dialog", opened.alert)
    page.on("request", lambda request: opened.asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    return opened


def report(record: StudyRecord, folder: Path) -> Path:
    """Write a report into the study's workspace."""
    workspace = folder / "ado-runs"
    return write_report(record, workspace / "studies/made-up/report", workspace).html


def test_report_draws_offline_and_without_a_complaint(
    browser: BrowserContext, make_study: MakeStudy, tmp_path: Path
) -> None:
    record = make_study(name=SCRIPT)
    path = report(record, tmp_path)
    opened = load(browser, path)
    page = opened.page
    assert opened.said == []
    assert opened.asked == [path.as_uri()]
    assert page.locator(".eyebrow b").inner_text() == SCRIPT
    assert page.locator("#plot-latency .scatterlayer .point").count() > len(record.front)
    assert page.locator(".js-plotly-plot .main-svg").count() >= 3
    widths = page.eval_on_selector_all("img", "all => all.map(i => i.complete && i.naturalWidth)")
    assert all(widths)
    check_keyboard(page)
    check_hover_and_click(page, record)
    check_themes(page)
    check_narrow(page)
    assert opened.said == []
    assert opened.asked == [path.as_uri()]
    page.close()


def check_hover_and_click(page: Page, record: StudyRecord) -> None:
    """The pointer shows the figures of a front member; a click opens its row."""
    page.locator("#plot-latency").scroll_into_view_if_needed()
    traces = page.evaluate("document.getElementById('plot-latency').data.map(t => t.customdata)")
    curve = traces.index(list(record.front))
    page.evaluate(f"Plotly.Fx.hover('plot-latency', [{{curveNumber: {curve}, pointNumber: 0}}])")
    label = page.locator("#plot-latency .hovertext").first.text_content() or ""
    assert f"Trial {record.front[0]}" in label and "retention" in label
    emit = "document.getElementById('plot-latency').emit"
    page.evaluate(f"n => {emit}('plotly_click', {{points: [{{customdata: n}}]}})", record.front[0])
    row = page.locator(f"#trial-{record.front[0]}")
    row.wait_for(state="visible")
    assert page.url.endswith(f"#trial-{record.front[0]}")


def check_themes(page: Page) -> None:
    """Paper and marks change with the reader's theme, and print is on white."""
    paper = "getComputedStyle(document.body).backgroundColor"
    mark = "document.getElementById('plot-latency')._fullData[3].line.color"
    light = page.evaluate(paper), page.evaluate(mark)
    page.emulate_media(color_scheme="dark")
    until(lambda: page.evaluate(mark) != light[1])
    assert page.evaluate(paper) == "rgb(18, 21, 23)" != light[0]
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    until(lambda: page.evaluate(mark) == light[1])
    page.emulate_media(media="screen", color_scheme="light")


def check_narrow(page: Page) -> None:
    """Nothing sticks out of a screen of 400 px; wide tables scroll by themselves."""
    page.set_viewport_size({"width": 400, "height": 800})
    drawn = "document.querySelector('#plot-latency .main-svg').getBoundingClientRect().width"
    until(lambda: page.evaluate(drawn) < 400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1280, "height": 900})


def check_keyboard(page: Page) -> None:
    """The first stop skips to the front; Enter opens the list of trials."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#front")
    page.locator("#trials summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#trials[open]").count() == 1
    page.keyboard.press("Enter")


def test_report_says_so_when_there_is_little_to_show(
    browser: BrowserContext,
    make_study: MakeStudy,
    without_trials: Callable[..., StudyRecord],
    tmp_path: Path,
) -> None:
    record = make_study()
    stopped = tuple(t for t in record.trials if "gap" not in t.values)
    for trials, headline in ((), "has no trials yet"), (stopped, "No student was scored"):
        opened = load(browser, report(without_trials(record, trials), tmp_path))
        assert opened.said == []
        assert headline in opened.page.locator("h1").inner_text()
        opened.page.close()


def test_report_of_500_trials_is_small_and_whole(
    browser: BrowserContext, make_study: MakeStudy, tmp_path: Path
) -> None:
    record = make_study(scores=380, stops=120)
    path = report(record, tmp_path)
    assert path.stat().st_size <= 8_000_000
    opened = load(browser, path)
    assert opened.said == []
    assert opened.page.locator("#trials tbody tr").count() == 500
    opened.page.close()


def test_tradeoff_draws_offline_and_without_a_complaint(
    browser: BrowserContext, tradeoff: dict[str, Any], tmp_path: Path
) -> None:
    tradeoff["name"] = SCRIPT
    tradeoff["rows"] = [row | {"label": SCRIPT} for row in tradeoff["rows"]]
    path = write_tradeoff(tradeoff, tmp_path / "tradeoff.html")
    opened = load(browser, path)
    page = opened.page
    assert page.locator(".eyebrow b").inner_text() == SCRIPT
    drawn = page.locator("#plot-tradeoff .scatterlayer .point")
    assert drawn.count() == 3 * (len(tradeoff["rows"]) + 1)
    assert page.locator("#plot-stages .scatterlayer .point").count() == len(tradeoff["stages"])
    page.evaluate("Plotly.Fx.hover('plot-tradeoff', [{curveNumber: 0, pointNumber: 0}])")
    assert SCRIPT in (page.locator("#plot-tradeoff .hovertext").first.text_content() or "")
    emit = "document.getElementById('plot-tradeoff').emit"
    page.evaluate(f"{emit}('plotly_click', {{points: [{{customdata: 'row-5'}}]}})")
    assert page.url.endswith("#row-5")
    check_stacked(page)
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [path.as_uri()]
    page.close()


def check_stacked(page: Page) -> None:
    """Plots that stand side by side stand one below the other on a narrow screen."""
    plot = "document.getElementById('plot-tradeoff')._fullLayout"
    lefts = f"['xaxis', 'xaxis2', 'xaxis3'].map(name => {plot}[name]._offset)"
    first, second, third = page.evaluate(lefts)
    assert first < second < third
    page.set_viewport_size({"width": 400, "height": 800})
    until(lambda: len(set(page.evaluate(lefts))) == 1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1280, "height": 900})
