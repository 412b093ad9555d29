from __future__ import annotations

from collections.abc import Callable

from reports.exhibits import exhibit, exhibits, thinned
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def test_figures_stand_alone_with_title_and_legend(make_study: MakeStudy) -> None:
    record = make_study(scores=12, stops=3)
    figures = exhibits(record)
    assert list(figures) == ["ado-latency", "ado-size"]
    figure = figures["ado-latency"]
    assert figure.layout.title.text.startswith("Retention against latency<br>")
    assert figure.layout.showlegend and figure.layout.height is None
    listed = [t.name for t in figure.data if t.showlegend]
    assert {"On the front", "Reference", "The pick"} <= set(listed)
    assert len(listed) == len(set(listed))
    drawn = {n for t in figure.data if t.customdata is not None for n in t.customdata}
    assert drawn == {t.number for t in record.trials}


def test_figures_keep_the_front_and_say_what_they_leave_out(make_study: MakeStudy) -> None:
    record = make_study(scores=30, stops=10)
    shown, left = thinned(record, most=5)
    assert shown.front == record.front
    assert left == len(record.trials) - len(shown.trials) == 40 - 5 - len(record.front)
    title = exhibit(shown, "size_mb", left).layout.title.text
    assert f"without {left} trials beside the front" in title
    assert thinned(record, most=100) == (record, 0)


def test_study_without_trials_has_no_figure(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    assert exhibits(without_trials(make_study(scores=1, stops=0))) == {}
