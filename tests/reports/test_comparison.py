from __future__ import annotations

import dataclasses
from collections.abc import Callable

from reports.comparison import by_device, rows
from reports.measurements import front
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def slower(record: StudyRecord, name: str) -> StudyRecord:
    """The same study with twice the latency everywhere."""
    trials = tuple(
        dataclasses.replace(t, values={**t.values, "latency_ms": 2 * t.values["latency_ms"]})
        if t.values
        else t
        for t in record.trials
    )
    again = {
        n: {**found, "latency_ms": 2 * found["latency_ms"]}
        for n, found in record.remeasured.items()
    }
    return dataclasses.replace(record, name=name, trials=trials, remeasured=again)


def test_studies_of_one_device_share_a_front_and_others_do_not(make_study: MakeStudy) -> None:
    one = make_study()
    elsewhere = dataclasses.replace(one, name="elsewhere", environment={"device": "Other"})
    found = rows([one, elsewhere, slower(one, "slow")])
    assert [row["study"] for row in found] == ["made-up", "slow", "elsewhere"]
    assert [row["on_joint_front"] for row in found] == [len(front(one)), 0, None]
    assert found[0]["pick"] == one.best
    tables = by_device(found)
    assert {device: len(own) for device, own in tables.items()} == {
        "Made-up CPU, 2 cores": 2,
        "Other": 1,
    }


def test_a_member_overtaken_by_its_own_sibling_counts_where_no_other_study_beats_it(
    make_study: MakeStudy,
) -> None:
    one = make_study()
    largest = max(one.front, key=lambda n: one.trial(n).values["size_mb"])
    beaten = {**one.remeasured[largest], "gap": 1e3, "latency_ms": 1e3}  # by every sibling
    own = dataclasses.replace(one, remeasured={**one.remeasured, largest: beaten})
    worse = {n: {"gap": 1e6, "latency_ms": 1e6} for n in one.front}
    other = dataclasses.replace(one, name="worse", remeasured=worse)
    assert [row["on_joint_front"] for row in rows([own, other])] == [len(one.front), 0]


def test_studies_of_other_data_share_no_front(make_study: MakeStudy) -> None:
    one = make_study()
    other = dataclasses.replace(one, digests={**one.digests, "data": "else"})
    assert [row["on_joint_front"] for row in rows([one, other])] == [None, None]


def test_a_study_without_a_pick_has_a_row(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    (row,) = rows([without_trials(make_study())])
    assert row["pick"] is None and row["retention"] is None and row["front"] == 0
