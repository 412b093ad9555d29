from __future__ import annotations

import dataclasses
from collections.abc import Callable

from reports.accuracy import accuracy_figure, accuracy_table
from reports.predictions import told
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def test_points_lie_on_the_line_where_a_prediction_was_right(make_study: MakeStudy) -> None:
    record = make_study()
    right = next(t for t in record.trials if "predicted_latency_ms" in t.attributes)
    exact = {**right.attributes, "predicted_latency_ms": right.values["latency_ms"]}
    other = dataclasses.replace(right, attributes=exact)
    trials = tuple(other if t is right else t for t in record.trials)
    record = dataclasses.replace(record, trials=trials)
    figure = accuracy_figure(record)
    assert figure is not None
    line, *traces = (t for t in figure.data if t.xaxis == "x")
    assert list(line.x) == list(line.y)
    points = {n: (x, y) for t in traces for n, x, y in zip(t.customdata, t.x, t.y, strict=True)}
    x, y = points[right.number]
    assert x == y and line.x[0] < min(min(p) for p in points.values())
    assert max(max(p) for p in points.values()) < line.x[1]
    assert {t.xaxis for t in figure.data} == {"x", "x2", "x3"}  # latency and both memories


def test_table_has_a_row_for_each_trial_and_a_cell_for_each_point(make_study: MakeStudy) -> None:
    record = make_study()
    listing = str(accuracy_table(record))
    points = {t.trial.number for own in told(record).values() for t in own}
    assert listing.count("<tr>") == 1 + len(points)
    assert listing.count(" measured, off by ") == sum(map(len, told(record).values()))
