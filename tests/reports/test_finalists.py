from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports import evidence, finalists, headline, wording
from reports.document import document
from reports.listing import front_table
from reports.measurements import final
from reports.page import write_report
from reports.pareto import pareto
from reports.solid import solid
from reports.summary import picked, summary
from studies.record import Finalist, StudyRecord
from studies.selection import overtaken

MakeStudy = Callable[..., StudyRecord]


def seed(number: int, kept: float, repeated: bool) -> dict[str, Any]:
    figures = {"gap": 9.0, "retention": kept, "latency_ms": 3.0}
    interval = {"retention_low": kept - 0.1, "retention_high": kept + 0.1}
    ended = {"state": "complete", "reason": "", "folder": "f"}
    return {"seed": number, **ended, **figures, **interval, "repeated": repeated}


@pytest.fixture
def record(make_study: MakeStudy) -> StudyRecord:
    """A study with one finalist that repeated, its pick, and one that did not."""
    plain = make_study()
    other = next(n for n in plain.front if n != plain.best)
    lost = {"seed": 2, "state": "pruned", "reason": "loss is <nan>", "repeated": False}
    figures = {
        "gap": 8.0,
        "gap_low": 6.0,
        "gap_high": 11.0,
        "retention": 0.77,
        "retention_low": 0.6,
        "retention_high": 0.99,
        "latency_ms": 3.3,
    }
    assert plain.best is not None
    found = (
        Finalist(plain.best, (seed(1, 0.8, True), seed(2, 0.75, True)), figures, True),
        Finalist(other, (seed(1, 0.4, False), lost), {**figures, "retention": 0.4}, False),
    )
    return dataclasses.replace(plain, finalists=found)


def test_figures_of_finalists_are_those_over_their_seeds(record: StudyRecord) -> None:
    best, other = (f.number for f in record.finalists)
    found = final(record, record.trial(best))
    assert found is not None
    assert (found.retention, found.retention_interval) == (0.77, (0.6, 0.99))
    assert (found.latency_ms, found.repeated) == (3.3, True)
    assert found.speedup == pytest.approx(record.reference["latency_ms"] / 3.3)
    member = next(m for m in summary(record, None)["front"] if m["number"] == other)
    assert (member["retention"], member["repeated"]) == (0.4, False)


def test_json_has_each_finalist_with_each_seed(record: StudyRecord) -> None:
    first, second = summary(record, None)["finalists"]
    assert (first["repeats"], first["failures"], first["repeated"]) == (2, 0, True)
    assert first["retention_interval"] == [0.6, 0.99]
    assert [s["retention"] for s in first["seeds"]] == [0.8, 0.75]
    assert (second["repeats"], second["failures"]) == (0, 2)
    assert second["seeds"][1]["retention"] is None
    assert document(record)["finalists"][1]["seeds"][1]["reason"] == "loss is <nan>"


def test_section_shows_repeats_and_failures(record: StudyRecord, tmp_path: Path) -> None:
    shown = finalists.section(record)
    assert shown is not None
    assert "1 of 2 repeated, and 2 of 4 trainings" in shown
    for text in ("0.77", "0.60 to 0.99", "✓ yes, 2 of 2", "✗ no, 0 of 2", "loss is &lt;nan&gt;"):
        assert text in shown
    whole = write_report(record, tmp_path, tmp_path).html.read_text(encoding="utf-8")
    assert shown in whole
    assert "The pick repeated in 2 of 2 trainings from other seeds" in whole


def test_what_could_not_be_trained_is_neither_a_repeat_nor_a_failure(
    record: StudyRecord,
) -> None:
    best, other = record.finalists
    broken = {"seed": 2, "state": "failed", "reason": "a bug, 2 times", "repeated": None}
    best = dataclasses.replace(best, seeds=(best.seeds[0], broken), repeated=None)
    record = dataclasses.replace(record, finalists=(best, other))
    told = summary(record, None)
    first = told["finalists"][0]
    assert (first["repeats"], first["failures"], first["repeated"]) == (1, 0, None)
    assert first["seeds"][1]["repeated"] is None and told["best"]["repeated"] is None
    shown = finalists.section(record)
    assert shown is not None
    assert "0 of 2 repeated" in shown and "not known, 1 of 2" in shown
    assert "Whether the pick repeats is not known: 1 of 2 trainings" in headline.subtitle(record)


def test_report_without_finalists_says_that_each_trained_once(make_study: MakeStudy) -> None:
    record = make_study()
    assert finalists.section(record) is None
    assert "Each student was trained once" in evidence.notes(record)
    assert summary(record, None)["finalists"] == []


def test_members_that_repeated_when_measured_again_do_so_whatever_other_seeds_say(
    record: StudyRecord,
) -> None:
    again = {n: {**row, "repeated": True} for n, row in record.remeasured.items()}
    unknown = dataclasses.replace(record.finalists[0], repeated=None)
    others = (unknown, *record.finalists[1:])
    found = dataclasses.replace(record, remeasured=again, finalists=others)
    count = len(record.front)
    assert f"{count} of {count} front members repeated when measured" in evidence.notes(found)
    once = dataclasses.replace(found, remeasured={})
    assert "The front was not measured again" in evidence.notes(once)


def test_pick_that_did_not_repeat_is_said(record: StudyRecord) -> None:
    lost = dataclasses.replace(record, best=record.finalists[1].number)
    assert "The pick did not repeat: 0 of 2 trainings" in headline.subtitle(lost)


def test_front_marks_what_did_not_repeat(record: StudyRecord) -> None:
    drawn = {t.meta["role"]: t for t in pareto(record, "size_mb").data if t.customdata is not None}
    assert record.finalists[1].number in drawn["unrepeated"].customdata
    assert record.finalists[0].number in drawn["front"].customdata


def test_report_marks_who_is_dominated_by_now(record: StudyRecord) -> None:
    lost = record.finalists[0].number  # which repeated
    worse = {**record.finalists[0].figures, "gap": 1e3, "retention": 0.01}
    held = dataclasses.replace(record.finalists[0], figures=worse)
    found = dataclasses.replace(record, finalists=(held, *record.finalists[1:]))
    found = dataclasses.replace(found, dominated=overtaken(found))
    assert lost in found.dominated
    for figure in (pareto(found, "size_mb"), solid(found)):
        drawn = {t.meta["role"]: t for t in figure.data if t.customdata is not None}
        assert lost in drawn["overtaken"].customdata and lost not in drawn["front"].customdata
    (row,) = re.findall(rf'<tr[^>]*data-number="{lost}".*?</tr>', front_table(found), re.S)
    assert "dominated by now" in row
    count = wording.count(len(found.dominated), "front member")
    assert f"By these figures {count}" in evidence.notes(found)
    assert "dominated by now" not in front_table(dataclasses.replace(found, dominated=()))


def test_picked_is_a_front_member_with_its_rule(record: StudyRecord) -> None:
    found = picked(record, "knee")["pick"]
    assert found["number"] in record.front
    assert found["rule"].startswith("the front member that is hardest to better")
    assert found["folder"] == record.trial(found["number"]).folder
