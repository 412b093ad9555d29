from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from reports.hypervolume import growth, history
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def test_history_agrees_with_optuna_after_every_trial(make_study: MakeStudy) -> None:
    record = make_study()
    corner = np.array(record.reference_point)
    seen: list[list[float]] = []
    expected = []
    for trial in record.trials:
        if "gap" not in trial.values:
            continue
        point = np.log([v + f for v, f in zip(trial.values.values(), (2.0, 0, 0), strict=True)])
        if trial.feasible and (point < corner).all():
            seen.append(point.tolist())
        expected.append(compute_hypervolume(np.array(seen), corner) if seen else 0.0)
    found = history(record)
    assert [n for n, _ in found] == [t.number for t in record.trials if "gap" in t.values]
    assert [v for _, v in found] == pytest.approx(expected)


def test_growth_never_falls_and_names_its_unit(make_study: MakeStudy) -> None:
    figure = growth(make_study())
    assert list(figure.data[0].y) == sorted(figure.data[0].y)
    assert "log units" in figure.layout.yaxis.title.text


def test_history_is_empty_when_nothing_was_scored(make_study: MakeStudy) -> None:
    assert history(make_study(scores=0)) == []
