from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from ado_nas.errors import ConfigError
from reports.beside import write_comparison
from reports.charts import GLYPHS
from reports.measurements import front
from reports.palette import DARK, LIGHT, STUDIES, study_role
from reports.rivals import rivals, view
from studies.record import StudyRecord
from tests.reports.test_comparison import slower

MakeStudy = Callable[..., StudyRecord]


def made_elsewhere(record: StudyRecord, name: str) -> StudyRecord:
    """The same study as of another device."""
    return dataclasses.replace(record, name=name, environment={"device": "Other"})


def test_only_studies_that_compare_are_drawn_together(make_study: MakeStudy) -> None:
    one = make_study()
    teacher = dataclasses.replace(one, name="taught", digests={**one.digests, "teacher": "else"})
    records = [one, made_elsewhere(one, "far"), slower(one, "slow"), teacher]
    found = [tuple(r.name for r in group.records) for group in rivals(records)]
    assert found == [("made-up", "slow"), ("taught",), ("far",)]
    assert [group.places for group in rivals(records)] == [(0, 2), (3,), (1,)]


def test_view_has_every_front_and_a_line_through_the_best(make_study: MakeStudy) -> None:
    one = make_study()
    (group,) = rivals([one, slower(one, "slow")])
    figure = view(group, "latency_ms")
    best, *traces = figure.data
    points = {(f.latency_ms, f.retention) for f in front(one)}
    assert set(zip(best.x, best.y, strict=True)) <= points  # the slow study is behind everywhere
    members = {t.meta["role"]: t for t in traces if t.customdata is not None}
    assert set(members) == {study_role(0), study_role(1)} == set(group.roles)
    for role, record in zip(members, group.records, strict=True):
        drawn = set(zip(members[role].x, members[role].y, strict=True))
        assert drawn == {(f.latency_ms, f.retention) for f in front(record)}


def test_page_has_a_section_a_device_and_a_row_a_study(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    one = make_study()
    report = tmp_path / "ado-runs/studies/made-up/report/report.html"
    report.parent.mkdir(parents=True)
    report.touch()
    records = [one, made_elsewhere(one, "far"), slower(one, "<b>slow")]
    path = write_comparison(records, tmp_path / "new" / "c.html", tmp_path / "ado-runs")
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size <= 8_000_000
    assert text.count('class="plot"') == 4 and "<b>slow" not in text
    first, second = re.findall(r'id="(device-\d)">(.*?)</section>', text, re.S)
    assert "study_1" in first[1] and "study_3" in first[1] and "study_2" not in first[1]
    assert "study_2" in second[1]
    assert 'href="../ado-runs/studies/made-up/report/report.html"' in text


def test_study_without_a_pick_is_listed(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord], tmp_path: Path
) -> None:
    empty = dataclasses.replace(without_trials(make_study()), name="empty")
    path = write_comparison([empty, dataclasses.replace(empty, name="too")], tmp_path / "c.html")
    text = path.read_text(encoding="utf-8")
    assert "plot-group" not in text and text.count("no pick") == 2


def test_studies_are_told_apart_in_light_and_dark() -> None:
    for colors in (LIGHT, DARK):
        looks = {(colors[study_role(i)], mark) for i, mark in enumerate(STUDIES)}
        assert len(looks) == len(STUDIES)
    assert set(STUDIES) <= set(GLYPHS)


def test_page_that_cannot_be_written_is_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    one = make_study(scores=3, stops=0)
    with pytest.raises(ConfigError, match="13 studies are more"):
        write_comparison([one] * 13, tmp_path / "c.html")
    with pytest.raises(ConfigError, match="give the name of a file"):
        write_comparison([one, slower(one, "slow")], tmp_path)


def test_compare_writes_the_page_where_it_is_asked_for(
    make_study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = make_study(scores=4)
    known = {"made-up": one, "slow": slower(one, "slow")}
    monkeypatch.setattr(cli, "_record", lambda name, *_: known[name])
    path = tmp_path / "c.html"
    words = ["cli.py", "compare", "made-up", "slow", "--html", str(path), "--json"]
    for given in (words, [*words[:-3], "--json"]):
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        found = json.loads(capsys.readouterr().out)
        assert not ended.value.code and len(found["rows"]) == 2
        assert found.get("html") == (str(path) if "--html" in given else None)
    assert path.is_file()
