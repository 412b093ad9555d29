from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from reports.charts import pareto_charts
from reports.page import write_report
from reports.solid import solid_charts
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def test_labels_are_written_once_and_are_those_of_every_point(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    record = make_study()
    text = write_report(record, tmp_path / "report", tmp_path / "ado-runs").html.read_text()
    data = {
        name: json.loads(re.findall(rf'id="{name}">(.*?)</script>', text, re.S)[0])
        for name in ("figures", "labels")
    }
    assert len(data["labels"]) == len(set(data["labels"]))
    for chart in (*pareto_charts(record), *solid_charts(record)):
        written = data["figures"][chart.identifier]["data"]
        for trace, own in zip(written, chart.figure["data"], strict=True):
            places = trace.get("hovertext") or []
            assert [data["labels"][i] for i in places] == (own.get("hovertext") or [])
