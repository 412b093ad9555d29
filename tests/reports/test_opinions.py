from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from reports.opinions import opinion_table, opinions
from studies.record import StudyRecord
from studies.selection import pick

MakeStudy = Callable[..., StudyRecord]


def judged(record: StudyRecord, sliced: dict[int, float]) -> StudyRecord:
    """The same study with these sliced distances, picked by the search's own scores."""
    trials = tuple(
        dataclasses.replace(t, attributes={**t.attributes, "sliced": sliced[t.number]})
        if t.number in sliced
        else t
        for t in record.trials
    )
    reference = {**record.reference, "sliced": record.reference["gap"]}
    found = dataclasses.replace(record, trials=trials, reference=reference, remeasured={})
    return dataclasses.replace(found, best=pick(found))


def test_a_measure_that_ranks_alike_agrees_and_picks_alike(make_study: MakeStudy) -> None:
    record = make_study()
    gaps = {t.number: t.values["gap"] for t in record.trials if "gap" in t.values}
    found = {o.measure: o for o in opinions(judged(record, gaps))}
    assert found["sliced"].agreement == pytest.approx(1.0)
    assert found["density"].agreement == pytest.approx(1.0)  # more is better
    assert found["kernel"].choice is None  # it may be below 0: no ratio to a reference


def test_a_measure_that_ranks_the_other_way_picks_another(make_study: MakeStudy) -> None:
    record = make_study()
    scored = {t.number: t.values["gap"] for t in record.trials if "gap" in t.values}
    assert record.best is not None
    against = judged(record, {n: 1 / gap for n, gap in scored.items()})
    assert against.best is not None
    against = judged(record, {n: 1 / g for n, g in scored.items()} | {against.best: 1e9})
    found = {o.measure: o for o in opinions(against)}["sliced"]
    assert found.agreement is not None and found.agreement < -0.5
    assert found.choice not in (None, against.best)
    table = opinion_table(against) or ""
    assert "another one" in table and "does not repeat them" in table


def test_memorizing_is_said_loudly(make_study: MakeStudy) -> None:
    record = make_study()
    trials = tuple(
        dataclasses.replace(t, attributes={**t.attributes, "memorizing": True})
        for t in record.trials
    )
    found = opinion_table(dataclasses.replace(record, trials=trials)) or ""
    assert "it repeats what it was trained on" in found


def test_no_opinion_without_measures(make_study: MakeStudy) -> None:
    record = make_study()
    trials = tuple(dataclasses.replace(t, attributes={}) for t in record.trials)
    bare = dataclasses.replace(record, trials=trials)
    assert opinions(bare) == [] and opinion_table(bare) is None
