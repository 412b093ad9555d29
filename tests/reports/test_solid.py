from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import plotly.graph_objects as go
from mpl_toolkits.mplot3d.art3d import Line3D

from reports.limits import choices
from reports.pareto import pareto
from reports.solid import COSTS, MARKS, solid, solid_charts, solid_view
from reports.stills import still
from reports.strokes import MARKERS
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def test_points_are_those_of_both_plane_views_at_once(make_study: MakeStudy) -> None:
    record = make_study()
    flat = {axis: list(_points(pareto(record, axis))) for axis in COSTS}
    found = list(_points(solid(record)))
    assert len(found) > len(record.front)
    for number, (late, large, kept) in found:
        assert (number, (late, kept)) in flat["latency_ms"]
        assert (number, (large, kept)) in flat["size_mb"]


def _points(figure: go.Figure) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Trial numbers with what a figure has for them."""
    for trace in figure.data:
        names = "xyz" if trace.type == "scatter3d" else "xy"
        if trace.customdata is not None:
            places = zip(*(trace[n] for n in names), strict=True)
            yield from zip(trace.customdata, places, strict=True)


def test_every_candidate_limit_and_point_lies_within_the_axes(make_study: MakeStudy) -> None:
    record = make_study(scores=40)
    shown = solid(record)
    ranges = {name: shown.layout.scene[f"{name}axis"].range for name in "xyz"}
    for _, place in _points(shown):
        logs = (math.log10(place[0]), math.log10(place[1]), place[2])
        for name, value in zip("xyz", logs, strict=True):
            assert ranges[name][0] <= value <= ranges[name][1]
    for name, axis in zip(COSTS, "xy", strict=True):
        for stop in choices(record)["stops"][name]:
            assert ranges[axis][0] <= math.log10(stop) <= ranges[axis][1]


def test_roles_are_told_apart_without_color() -> None:
    assert len(set(MARKS.values())) == len(MARKS)
    space = {"circle", "circle-open", "cross", "diamond", "diamond-open", "square", "square-open"}
    assert set(MARKS.values()) - {MARKS["stopped"]} <= space & set(MARKERS)


def test_study_without_a_score_has_no_view(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    record = without_trials(make_study())
    assert solid_charts(record) == [] and solid_view([]) is None


def test_study_of_one_trial_and_nothing_else_is_drawn(make_study: MakeStudy) -> None:
    record = make_study(scores=1, stops=0, remeasure=False)
    alone = dataclasses.replace(record, reference={}, training_free=())
    (shown,) = solid_charts(alone)
    scene = shown.figure["layout"]["scene"]
    assert scene["xaxis"]["range"][0] < scene["xaxis"]["range"][1]
    assert scene["xaxis"]["tickvals"]


def test_still_has_the_points_of_the_page(make_study: MakeStudy) -> None:
    (shown,) = solid_charts(make_study())
    (axes,) = still(shown).axes
    drawn = [np.array(line.get_data_3d()) for line in axes.lines if isinstance(line, Line3D)]
    for trace in shown.figure["data"]:
        if trace["x"] and trace["mode"] == "markers":
            wanted = np.array([np.log10(trace["x"]), np.log10(trace["y"]), trace["z"]])
            assert any(d.shape == wanted.shape and np.allclose(d, wanted) for d in drawn)
