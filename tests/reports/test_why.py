from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable

import pytest

from reports.hypervolume import history, over_time, random_order
from reports.inheritance import inheritance_table
from reports.parallel import parallel
from reports.rungs import reached, rung_figure
from reports.steps import free_table, steps_figure
from reports.why import parts_section, reasons, why_section
from studies.record import StudyRecord, TrialRecord

MakeStudy = Callable[..., StudyRecord]


def with_rungs(text: str) -> TrialRecord:
    return TrialRecord(0, "pruned", {}, {}, {}, {"rungs": text}, "", "")


def test_sections_hold_every_figure_when_the_study_has_all(make_study: MakeStudy) -> None:
    record = dataclasses.replace(make_study(scores=30), left_out=("<b> goes",))
    found = reasons(record)
    assert list(found.charts) == [
        "importance",
        "effects",
        "parallel",
        "rungs",
        "predictions",
        "steps",
    ]
    shown = why_section(record, found) + (parts_section(record, found) or "")
    for chart in found.charts.values():
        assert f'id="{chart.identifier}"' in shown
        assert all("role" in trace["meta"] for trace in chart.figure["data"])
    assert "Because of the device, &lt;b&gt; goes." in shown
    assert "The bias of inheritance" in shown


def test_sections_say_so_when_there_is_too_little(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    record = dataclasses.replace(without_trials(make_study()), training_free=())
    found = reasons(record)
    assert found.charts == {} and parts_section(record, found) is None
    assert "fewer than 8 scored trials" in why_section(record, found)


def test_choices_that_no_trial_tells_apart_are_said_not_drawn(make_study: MakeStudy) -> None:
    study = make_study(scores=30)
    pairs = [{"steps": s, "kind": k} for s, k in ((1, "a"), (2, "b"), (4, "c"))]
    trials = tuple(
        dataclasses.replace(t, params=dict(pairs[i % 3])) for i, t in enumerate(study.trials)
    )
    record = dataclasses.replace(study, trials=trials)
    found = reasons(record)
    assert found.costs and "effects" not in found.charts
    shown = why_section(record, found)
    assert "cannot be told from so few trials" in shown and "Choices as a table" not in shown
    assert inheritance_table(record) is None


def test_a_choice_that_the_trials_cannot_tell_is_left_out_of_the_figure(
    make_study: MakeStudy,
) -> None:
    study = make_study(scores=30)
    pairs = [{"steps": s, "kind": k} for s, k in ((1, "a"), (2, "b"), (4, "c"))]
    trials = tuple(
        dataclasses.replace(t, params={**pairs[i % 3], "activation": "xyz"[i // 3 % 3]})
        for i, t in enumerate(study.trials)
    )
    record = dataclasses.replace(study, trials=trials)
    found = reasons(record)
    axis = found.charts["effects"].figure["layout"]["yaxis"]
    assert list(axis["ticktext"]) == [f"activation: {c}" for c in "xyz"]
    assert "Those not shown" in why_section(record, found)


def test_rungs_are_read_and_rubbish_is_not() -> None:
    rows = [{"iteration": 4, "retention": 0.5}, {"iteration": 2, "retention": 0.4}, {"x": 1}, 7]
    assert reached(with_rungs(json.dumps(rows))) == [(2.0, 0.4), (4.0, 0.5)]
    for text in ("", "{}", "[", "null"):
        assert reached(with_rungs(text)) == []


def test_rung_curves_end_where_a_trial_stopped(make_study: MakeStudy) -> None:
    record = make_study()
    figure = rung_figure(record)
    assert figure is not None
    traces = {t.meta["role"]: t for t in figure.data}
    total = record.config["distillation"]["iterations"]
    stopped = [x for x in traces["stopped"].x if x is not None]
    assert stopped and max(stopped) < total
    ends = [b for a, b in zip(traces["front"].x, traces["front"].x[1:], strict=False) if a]
    assert ends.count(total) == len(record.front)
    bare = tuple(dataclasses.replace(t, attributes={}) for t in record.trials)
    assert rung_figure(dataclasses.replace(record, trials=bare)) is None


def test_parallel_lines_lie_within_their_axes(make_study: MakeStudy) -> None:
    record = make_study()
    figure = parallel(record)
    assert figure is not None
    scored = [t for t in record.trials if t.state == "complete"]
    heights = [y for trace in figure.data for y in trace.y if y is not None]
    assert min(heights) >= -0.05 and max(heights) <= 1.05
    assert sum(y is None for trace in figure.data for y in trace.y) == len(scored)


def test_inheritance_is_left_out_when_it_was_the_same(make_study: MakeStudy) -> None:
    record = make_study()
    assert inheritance_table(record)
    alike = tuple(
        dataclasses.replace(t, attributes={**t.attributes, "inherited_fraction": 0.5})
        for t in record.trials
    )
    assert inheritance_table(dataclasses.replace(record, trials=alike)) is None


def test_steps_have_a_line_for_each_sampler(make_study: MakeStudy) -> None:
    record = make_study()
    figure = steps_figure(record)
    assert figure is not None
    lines = [t for t in figure.data if t.meta["role"] == "training_free"]
    assert [list(t.x) for t in lines] == [[4, 6, 12], [12]]
    assert (free_table(record) or "").count("<tr>") == 1 + len(record.training_free)


def test_time_and_trials_end_at_the_same_volume(make_study: MakeStudy) -> None:
    record = make_study()
    timed = over_time(record)
    assert [m for m, _ in timed] == sorted(m for m, _ in timed)
    assert timed[-1][1] == pytest.approx(history(record)[-1][1])
    assert random_order(record)[-1] == pytest.approx(history(record)[-1][1])
    first = next(t for t in record.trials if t.state == "complete")
    ended = min(10 * t.number + t.seconds for t in record.trials if t.state == "complete")
    assert first.started and timed[0][0] * 60 == pytest.approx(ended - 10 * _first(record))
    untimed = tuple(dataclasses.replace(t, started="") for t in record.trials)
    assert over_time(dataclasses.replace(record, trials=untimed)) == []
    assert math.isfinite(timed[0][1])


def _first(record: StudyRecord) -> int:
    """The first trial that has a time."""
    return min(t.number for t in record.trials if t.started)
