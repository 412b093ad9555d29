"""Quality by resolution: what is told where several were judged, and that nothing is elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from reports.document import schema
from reports.resolutions import by_resolution, resolution_table
from reports.summary import summary
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def judged(record: StudyRecord) -> StudyRecord:
    """The study with quality at 8 px beside its own 16."""
    lower = {"gap_8px": 4.0, "retention_8px": 0.6}
    lower |= {"retention_low_8px": 0.5, "retention_high_8px": 0.75}
    trials = tuple(
        dataclasses.replace(t, attributes={**t.attributes, **lower}) if t.values else t
        for t in record.trials
    )
    config = {**record.config, "task": {"data": {"resolution": 16}}}
    return dataclasses.replace(record, trials=trials, config=config)


def test_each_resolution_is_told_from_the_smallest(make_study: MakeStudy) -> None:
    record = judged(make_study())
    trial = record.trial(record.front[0])
    low, own = by_resolution(record, trial)
    assert low == {
        "resolution": 8,
        "gap": 4.0,
        "retention": 0.6,
        "retention_interval": [0.5, 0.75],
    }
    assert own["resolution"] == 16 and own["retention"] == trial.attributes["retention"]
    assert own["gap"] == trial.values["gap"]
    page = str(resolution_table(record))
    assert "8 px" in page and "16 px" in page and "60" in page
    members = summary(record, None)["front"]
    assert all([r["resolution"] for r in m["resolutions"]] == [8, 16] for m in members)
    wanted = schema()["$defs"]["member"]["properties"]["resolutions"]["items"]["required"]
    assert all(set(r) == set(wanted) for m in members for r in m["resolutions"])


def test_nothing_is_told_where_one_resolution_was_judged(make_study: MakeStudy) -> None:
    full = make_study()
    assert by_resolution(full, full.trial(full.front[0])) == []
    assert resolution_table(full) is None
    assert all(m["resolutions"] == [] for m in summary(full, None)["front"])
