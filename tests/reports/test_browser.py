"""The report in a real browser: headless Chromium, with nothing but file: allowed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from reports.beside import write_comparison
from reports.limits import choices
from reports.measurements import final
from reports.page import write_report
from reports.tradeoff import write_tradeoff
from studies.record import StudyRecord
from studies.selection import pick
from tests.fakes.brute_limits import front_within, some_limits
from tests.reports.browsing import DRAWN, NEAR, bring, chromium, load, paint, until

MakeStudy = Callable[..., StudyRecord]
READY = "performance.getEntriesByName('ready')[0]"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """One Chromium for all tests of this file."""
    with chromium(tmp_path_factory.mktemp("profile")) as context:
        yield context


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
    check_drawn_when_seen(page)
    assert page.locator("#plot-latency .scatterlayer .point").count() > len(record.front)
    widths = page.eval_on_selector_all(
        "main img", "all => all.map(i => i.complete && i.naturalWidth)"
    )
    assert all(widths)
    check_keyboard(page)
    check_limits(page, record)
    check_hover_and_click(page, record)
    check_themes(page)
    check_narrow(page)
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [path.as_uri()]
    page.close()


def check_drawn_when_seen(page: Page) -> None:
    """Figures are drawn as they come into view, and all that are open on paper."""
    assert set(page.evaluate(DRAWN)) == set(page.evaluate(NEAR))
    until(lambda: page.evaluate("'Plotly' in window"))
    every = set(page.eval_on_selector_all(".plot", "all => all.map(plot => plot.id)"))
    assert set(page.evaluate(DRAWN)) < every
    bring(page, "latency")
    bring(page, "growth")
    assert set(page.evaluate(DRAWN)) < every
    page.pdf()
    assert set(page.evaluate(DRAWN)) == every - {"plot-solid"}
    page.evaluate("scrollTo(0, 0)")


def check_hover_and_click(page: Page, record: StudyRecord) -> None:
    """The pointer shows the figures of a front member; a click opens its row."""
    bring(page, "latency")
    traces = page.evaluate("document.getElementById('plot-latency').data.map(t => t.customdata)")
    curve = next(i for i, own in enumerate(traces) if record.front[0] in (own or []))
    point = traces[curve].index(record.front[0])
    at = f"{{curveNumber: {curve}, pointNumber: {point}}}"
    page.evaluate(f"Plotly.Fx.hover('plot-latency', [{at}])")
    label = page.locator("#plot-latency .hovertext").first.text_content() or ""
    assert f"Trial {record.front[0]}" in label and "retention" in label
    emit = "document.getElementById('plot-latency').emit"
    page.evaluate(f"n => {emit}('plotly_click', {{points: [{{customdata: n}}]}})", record.front[0])
    row = page.locator(f"#trial-{record.front[0]}")
    row.wait_for(state="visible")
    assert page.url.endswith(f"#trial-{record.front[0]}")

    check_peek(page, record)


def check_peek(page: Page, record: StudyRecord) -> None:
    """The pointer brings up the samples of a front member and of one that is dominated."""
    others = [t.number for t in record.trials if t.state == "complete" and t.feasible]
    dominated = next(n for n in others if n not in record.front)
    emit = "document.getElementById('plot-latency').emit"
    pointer = "event: {clientX: 300, clientY: 300}"
    sources = []
    for number in (record.front[0], dominated):
        page.evaluate(f"{emit}('plotly_hover', {{points: [{{customdata: {number}}}], {pointer}}})")
        image = page.locator("#peek")
        image.wait_for(state="visible")
        until(lambda: page.evaluate("document.getElementById('peek').naturalWidth > 0"))
        sources.append(image.get_attribute("src"))
    grid = page.locator(f'img[data-trial="{record.front[0]}"]').first
    assert sources[0] == grid.get_attribute("src") != sources[1]
    page.evaluate(f"{emit}('plotly_unhover', {{}})")
    assert page.locator("#peek").is_hidden()


def check_limits(page: Page, record: StudyRecord) -> None:
    """The page lists and picks under limits what the search's own rule does."""
    shown = "all => all.filter(r => !r.hidden).map(r => Number(r.dataset.number))"
    rows, picked = "#front tr[data-number]", "#front tr.pick"
    assert page.locator(picked).get_attribute("data-number") == str(record.best)
    known = choices(record)["stops"]
    ring = "document.getElementById('plot-latency').data.find(t => t.meta.axis).x[0]"
    empty = {name: values[0] for name, values in known.items()}
    for limits in (*some_limits(record, 6), empty, {}):
        for name, values in known.items():
            place = values.index(limits[name]) if name in limits else len(values) - 1
            slide = (
                "(s, v) => { s.value = v; s.dispatchEvent(new Event('input', {bubbles: true})); }"
            )
            page.locator(f"#limit-{name}").evaluate(slide, place)
        front = front_within(record, limits)
        best = pick(dataclasses.replace(record, front=tuple(sorted(front))))
        assert set(page.eval_on_selector_all(rows, shown)) == front
        if best is None:
            assert page.locator(picked).count() == 0
            assert "Raise one" in page.locator("#limits-said").inner_text()
            continue
        found = final(record, record.trial(best))
        assert found is not None
        assert page.locator(picked).get_attribute("data-number") == str(best)
        assert page.locator(f"{picked} .tag").count() == 1
        assert f"trial {best}:" in page.locator("#limits-said").inner_text()
        assert page.evaluate(ring) == pytest.approx(found.latency_ms)
    check_limits_by_keyboard(page, record)


def check_limits_by_keyboard(page: Page, record: StudyRecord) -> None:
    """An arrow key moves a limit by one trial's figure, and says it; the button takes it away."""
    slider = page.locator("#limit-latency_ms")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert (slider.get_attribute("aria-valuetext") or "").startswith("at most ")
    assert page.locator("#plot-latency .shapelayer path").count() == 3  # two levels and the limit
    page.locator("#limits-reset").focus()
    page.keyboard.press("Enter")
    assert slider.get_attribute("aria-valuetext") == "no limit"
    assert page.locator("#front tr.pick").get_attribute("data-number") == str(record.best)


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


@pytest.mark.slow
def test_report_of_500_trials_is_small_and_whole(
    browser: BrowserContext, make_study: MakeStudy, tmp_path: Path
) -> None:
    """What is counted fails this test; times are printed, for they are the machine's."""
    record = make_study(scores=380, stops=120)
    path = report(record, tmp_path)
    assert path.stat().st_size <= 8_000_000
    for section, figures in ("", set()), ("#front", {"plot-latency", "plot-size"}):
        opened = load(browser, path, section)
        page = opened.page
        at, seen = page.evaluate("(mark => [mark.startTime, mark.detail])(" + READY + ")")
        print(
            f"500 trials{section}: {path.stat().st_size / 1e6:.2f} MB, ready after "
            f"{at / 1000:.2f} s ({spent(page):.2f} s of processor), {len(seen)} figures drawn"
        )
        assert opened.said == []
        assert figures == set(seen) == set(page.evaluate(NEAR))
        assert page.locator("#trials tbody tr").count() == 500
        for own in json.loads(page.locator("#figures").text_content() or "").values():
            assert len(own["data"]) <= 16
        page.close()


def spent(page: Page) -> float:
    """Seconds of processor that a page has taken, however busy the machine is."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(m["value"] for m in metrics if m["name"] == "ProcessTime"))


@pytest.mark.slow
def test_view_in_space_is_drawn_when_opened_and_follows_the_page(
    browser: BrowserContext, make_study: MakeStudy, tmp_path: Path
) -> None:
    record = make_study()
    opened = load(browser, report(record, tmp_path))
    page = opened.page
    assert page.locator("#plot-solid canvas").count() == 0
    page.locator("details.solid summary").focus()
    page.keyboard.press("Enter")
    bring(page, "solid")
    own = "document.getElementById('plot-solid')"
    shown = {n for t in page.evaluate(f"{own}.data.map(t => t.customdata || [])") for n in t}
    assert shown == {t.number for t in record.trials if t.state == "complete"}
    page.locator("#plot-solid").focus()
    eye = f"{own}.layout.scene.camera.eye"
    before = page.evaluate(eye)
    page.keyboard.press("ArrowRight")
    until(lambda: page.evaluate(eye) != before)
    check_solid_limits(page, own)
    page.evaluate(f"{own}.emit('plotly_click', {{points: [{{customdata: {record.best}}}]}})")
    assert page.url.endswith(f"#trial-{record.best}")
    color = f"{own}.data.find(t => t.meta.axes).marker.color"
    light, turned = page.evaluate(color), page.evaluate(eye)
    page.emulate_media(color_scheme="dark")
    until(lambda: page.evaluate(color) != light)
    assert page.evaluate(eye) == turned != before
    page.pdf()
    page.emulate_media(media="print", color_scheme="light")
    until(lambda: page.evaluate(color) == light)
    assert page.locator("details.solid").is_hidden()
    assert opened.said == []
    page.close()


def check_solid_limits(page: Page, own: str) -> None:
    """A limit outlines what it leaves, and the ring goes with the pick."""
    ring = f"{own}.data.find(t => t.meta.axes).x[0]"
    outline = f"{own}.data.find(t => t.meta.limit === 'latency_ms').x"
    before = page.evaluate(ring)
    assert page.evaluate(outline) == []
    page.locator("#limit-latency_ms").focus()
    page.keyboard.press("Home")
    until(lambda: len(page.evaluate(outline)) == 5)
    assert page.evaluate(outline)[0] < before != page.evaluate(ring)


def test_page_without_webgl_says_so_and_complains_of_nothing(
    browser: BrowserContext, make_study: MakeStudy, tmp_path: Path
) -> None:
    without = """const known = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
      return kind.includes("webgl") ? null : known.call(this, kind, ...rest);
    };"""
    opened = load(browser, report(make_study(), tmp_path), before=without)
    opened.page.locator("details.solid summary").click()
    said = opened.page.locator(".without")
    said.wait_for(state="visible")
    assert "needs WebGL" in said.inner_text()
    assert opened.page.locator("#plot-solid").is_hidden()
    assert opened.said == []
    opened.page.close()


def test_comparison_draws_offline_and_without_a_complaint(
    browser: BrowserContext, make_study: MakeStudy, tmp_path: Path
) -> None:
    one = make_study(scores=8, name=SCRIPT)
    two = dataclasses.replace(one, name="other", environment={"device": SCRIPT})
    path = write_comparison([one, two], tmp_path / "compared.html", tmp_path / "ado-runs")
    opened = load(browser, path)
    page = opened.page
    paint(page)
    assert page.locator(".eyebrow b").inner_text() == f"{SCRIPT}, other"
    for i, record in enumerate((one, two), 1):
        points = page.locator(f"#plot-group{i}-latency .scatterlayer .point")
        assert points.count() == len(record.front) + 1
    emit = "document.getElementById('plot-group2-size').emit"
    page.evaluate(f"{emit}('plotly_click', {{points: [{{customdata: 'study_2'}}]}})")
    assert page.url.endswith("#study_2") and page.locator("#study_2").is_visible()
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [path.as_uri()]
    page.close()


def test_tradeoff_draws_offline_and_without_a_complaint(
    browser: BrowserContext, tradeoff: dict[str, Any], tmp_path: Path
) -> None:
    tradeoff["name"] = SCRIPT
    tradeoff["rows"] = [row | {"label": SCRIPT} for row in tradeoff["rows"]]
    path = write_tradeoff(tradeoff, tmp_path / "tradeoff.html")
    opened = load(browser, path)
    page = opened.page
    assert page.locator(".eyebrow b").inner_text() == SCRIPT
    paint(page)
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
