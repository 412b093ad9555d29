"""Front members of several studies in one figure, where their figures can be compared."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reports import charts, hover, wording
from reports.charts import Chart
from reports.comparison import alike
from reports.marks import bars, ticks, upward
from reports.measurements import Measurements, front, pick
from reports.palette import LIGHT, STUDIES, study_role
from reports.pareto import layout, staircase
from studies.record import StudyRecord

MARKS = {study_role(i): symbol for i, symbol in enumerate(STUDIES)}
TITLES = {"latency_ms": "Retention against latency", "size_mb": "Retention against model size"}
SIZE, RING = 10, 21


@dataclass(frozen=True)
class Rivals:
    """Studies whose retentions and latencies mean the same; `places` are those in the list."""

    device: str
    records: tuple[StudyRecord, ...]
    places: tuple[int, ...]

    @property
    def roles(self) -> dict[str, str]:
        """What each study is called, by the role of its marks."""
        named = zip(self.places, self.records, strict=True)
        return {study_role(i): record.name for i, record in named}


def rivals(records: Sequence[StudyRecord]) -> list[Rivals]:
    """Put studies together that share device, batch, data, feature network and teacher.

    Args:
        records: the studies.

    Returns:
        Groups in the order of their first studies, those of one device next to each other.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, record in enumerate(records):
        groups.setdefault((*alike(record), record.digests.get("teacher")), []).append(i)
    found = [
        Rivals(
            wording.device(records[own[0]].environment), tuple(records[i] for i in own), tuple(own)
        )
        for own in groups.values()
    ]
    devices = list(dict.fromkeys(group.device for group in found))
    return sorted(found, key=lambda group: devices.index(group.device))


def rival_charts(group: Rivals, name: str) -> list[Chart]:
    """Retention against latency and against size, a color and a mark for each study.

    Args:
        group: of `rivals`.
        name: unlike that of any other group in the page.

    Returns:
        Two charts, or none where no study has a front.
    """
    if not any(front(record) for record in group.records):
        return []
    return [
        charts.chart(
            f"{name}-{axis.partition('_')[0]}", title, view(group, axis), group.roles, MARKS
        )
        for axis, title in TITLES.items()
    ]


def view(group: Rivals, axis: str) -> go.Figure:
    """The fronts of studies that compare, with a line through the best of all of them.

    Args:
        group: of `rivals`.
        axis: ``latency_ms`` or ``size_mb``.

    Returns:
        A figure whose traces carry the study's role in ``meta``, and in ``customdata`` the id of
        its row in the table.
    """
    figure = go.Figure(layout=layout(axis))
    fronts = [[f for f in front(r) if f.retention is not None] for r in group.records]
    figure.add_trace(_best([f for members in fronts for f in members], axis))
    for place, record, members in zip(group.places, group.records, fronts, strict=True):
        figure.add_trace(_members(place, record, members, axis))
        figure.add_trace(_pick(place, record, axis))
    figure.add_hline(
        y=1.0, line={"width": 1, "dash": "dot", "color": LIGHT["teacher"]}, layer="below"
    )
    every = [f for members in fronts for f in members]
    figure.update_xaxes(ticks([getattr(f, axis) for f in every]))
    figure.update_yaxes(range=upward([1.0, *(f.retention for f in every)]))
    return figure


def _members(
    place: int, record: StudyRecord, members: list[Measurements], axis: str
) -> go.Scatter:
    role, study = study_role(place), html.escape(record.name)
    marker: dict[str, Any] = {"symbol": MARKS[role], "size": SIZE, "color": LIGHT[role]}
    if MARKS[role].endswith("open"):
        marker["line"] = {"width": 1.6}
    return go.Scatter(
        x=[getattr(f, axis) for f in members],
        y=[f.retention for f in members],
        error_y=bars([(f.retention or 0.0, f.retention_interval) for f in members], role),
        hovertext=[
            f"<b>{study}</b><br>{hover.scored(record.trial(f.number), f)}" for f in members
        ],
        customdata=[role] * len(members),
        mode="markers",
        meta={"role": role},
        hoverinfo="text",
        marker=marker,
    )


def _pick(place: int, record: StudyRecord, axis: str) -> go.Scatter:
    """A ring around the study's pick; it does not answer to the pointer."""
    role, found = study_role(place), pick(record)
    there = found is not None and found.retention is not None
    return go.Scatter(
        x=[getattr(found, axis)] if there else [],
        y=[found.retention] if there and found else [],
        mode="markers",
        meta={"role": role},
        hoverinfo="skip",
        marker={
            "symbol": "circle-open",
            "size": RING,
            "color": LIGHT[role],
            "line": {"width": 2},
        },
    )


def _best(members: list[Measurements], axis: str) -> go.Scatter:
    steps = staircase([(getattr(f, axis), f.retention or 0.0) for f in members])
    return go.Scatter(
        x=[s[0] for s in steps],
        y=[s[1] for s in steps],
        mode="lines",
        meta={"role": "muted"},
        hoverinfo="skip",
        opacity=0.6,
        line={"shape": "hv", "width": 1.5, "color": LIGHT["muted"]},
    )
