from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.headline import key_numbers
from reports.listing import front_table
from reports.page import write_report
from reports.wording import TIMES
from studies.record import StudyRecord
from studies.selection import corner

MakeStudy = Callable[..., StudyRecord]
Emptied = Callable[..., StudyRecord]


class Reader(HTMLParser):
    """Collects visible text, ids, links and images of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.inside = "", ""
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.sources: list[str] = []
        self.described = True
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.inside = tag
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.targets.append(str(found["href"]))
        if tag == "img":
            self.sources.append(str(found["src"]))
            self.described &= bool(found.get("alt"))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.text += data


def read(record: StudyRecord, folder: Path) -> Reader:
    """Write a report beside the workspace's study and read it."""
    workspace = folder / "ado-runs"
    paths = write_report(record, workspace / "studies/made-up/report", workspace)
    assert paths.csv.is_file() and paths.json.is_file()
    assert paths.html.stat().st_size <= 8_000_000
    return Reader(paths.html.read_text(encoding="utf-8"))


def test_page_is_whole_and_stands_alone_when_written(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    record = make_study()
    page = read(record, tmp_path)
    folder = tmp_path / "ado-runs/studies/made-up/report"
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "report.json", "trials.csv"]
    assert len(page.ids) == len(set(page.ids))
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert len(page.sources) == 2 + 1 + len(record.front) and page.described
    for target in page.targets:
        known = target[1:] in page.ids if target[0] == "#" else (folder / target).exists()
        assert known, target


def test_headline_says_how_much_faster_smaller_and_at_which_retention(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    record = make_study()
    assert record.best is not None
    text = read(record, tmp_path).text
    again = record.remeasured[record.best]
    assert f"Trial {record.best} draws images {again['speedup']:.0f}" in text
    low, high = again["retention_interval"]
    assert f"at retention {again['retention']:.2f} [{low:.2f} to {high:.2f}]" in text
    assert "on Made-up CPU, 2 cores" in text
    assert "the teacher with DPM++(2M), Karras levels, 50 network evaluations (NFE)" in text


def test_headline_says_larger_when_the_pick_is_and_of_the_same_size_when_it_is(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    record = make_study()
    assert record.best is not None
    for compression, words, label in (
        (0.5, f"from a model 2.0{TIMES} larger, at", "larger"),
        (0.96, "from a model of the same size, at", "the size"),
        (4.0, f"from a model 4.0{TIMES} smaller, at", "smaller"),
    ):
        record.trial(record.best).attributes["compression"] = compression
        text = read(record, tmp_path).text
        assert words in text and key_numbers(record)[1].label == label


def test_page_tells_the_pick_and_the_knee_by_number(make_study: MakeStudy, tmp_path: Path) -> None:
    record = make_study()
    knee = corner(record)
    assert knee is not None and knee != record.best
    text = read(record, tmp_path).text
    assert f"The pick, trial {record.best}, is, of the front members that keep" in text
    assert f"The knee, trial {knee}, is the front member that is hardest to better" in text
    for name, number in (("pick", record.best), ("knee", knee)):
        assert re.findall(
            rf'#trial-(\d+)">\d+</a><span class="\w+">{name}<', front_table(record)
        ) == [str(number)]


def test_everything_typed_is_text_when_it_looks_like_a_script(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    bad = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'</style>"
    record = make_study(name=bad)
    trials = tuple(
        dataclasses.replace(t, params={bad: bad}, reason=bad, spec_hash=bad) for t in record.trials
    )
    record = dataclasses.replace(
        record,
        trials=trials,
        config={bad: {bad: bad}},
        environment={"device": bad},
        digests={bad: bad},
        reference=record.reference | {"solver": bad},
    )
    page = read(record, tmp_path)
    assert page.text.count(bad) > 3 * len(trials)
    assert all(source.startswith("data:") for source in page.sources)


@pytest.mark.parametrize("scores", [0, 3])
def test_page_says_what_to_do_when_nothing_was_picked(
    make_study: MakeStudy, without_trials: Emptied, tmp_path: Path, scores: int
) -> None:
    record = make_study()
    kept = [t for t in record.trials if ("gap" in t.values) == bool(scores)]
    over = tuple(
        dataclasses.replace(t, constraints={"latency": 0.2 + t.number}, reason=f"late {t.number}")
        for t in kept[:3]
    )
    text = read(without_trials(record, over), tmp_path).text
    start = "No student is within the limits" if scores else "No student was scored: 3 trials"
    assert start in text
    assert "Limits missed: latency by 3 trials" in text
    near = over[0].number
    assert f"Closest was trial {near}: late {near}." in text


def test_page_says_so_when_there_is_no_trial(
    make_study: MakeStudy, without_trials: Emptied, tmp_path: Path
) -> None:
    page = read(without_trials(make_study()), tmp_path)
    assert "Study made-up has no trials yet." in page.text
    assert "The front is empty" in page.text


def test_page_warns_when_the_pick_did_not_repeat_or_was_not_measured_again(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    record = make_study()
    assert record.best is not None
    failed = {n: again | {"repeated": False} for n, again in record.remeasured.items()}
    again = read(dataclasses.replace(record, remeasured=failed), tmp_path).text
    assert "The pick did not repeat" in again and f"0 of {len(failed)} front members" in again
    once = read(dataclasses.replace(record, remeasured={}), tmp_path).text
    assert "they were not measured again" in once


def test_page_is_written_when_the_record_holds_next_to_nothing(tmp_path: Path) -> None:
    record = StudyRecord("bare", {}, (), (), None, {}, (), {}, {}, 0.0, (0.0, 0.0, 0.0))
    text = read(record, tmp_path).text
    assert re.search(r"bare has no trials yet", text)
