from __future__ import annotations

import dataclasses
from collections.abc import Callable

from reports.limits import COSTS, candidates, choices, sliders
from studies.record import StudyRecord
from tests.fakes.brute_limits import front_within, some_limits

MakeStudy = Callable[..., StudyRecord]


def test_every_front_under_limits_is_among_the_candidates(make_study: MakeStudy) -> None:
    record = make_study(scores=60)
    known = {t.number for t in candidates(record)}
    assert set(record.front) < known  # some come up with a limit of memory only
    fronts = [front_within(record, limits) for limits in some_limits(record, 40)]
    assert all(found <= known for found in fronts)
    assert set().union(*fronts) - set(record.front)


def test_choices_hold_what_the_rule_looks_at(make_study: MakeStudy) -> None:
    record = make_study()
    found = choices(record)
    assert list(found["stops"]) == list(COSTS)
    for name, values in found["stops"].items():
        assert values == sorted({t["costs"][name] for t in found["trials"]})
    best = next(t for t in found["trials"] if t["number"] == record.best)
    own = record.trial(best["number"]).attributes["retention"]
    assert best["kept"] == min(own, record.remeasured[best["number"]]["retention"])
    assert f"trial {record.best}: " in best["said"]


def test_no_slider_where_a_candidate_lacks_the_figure(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    record = make_study()
    plain = {k: v for k, v in record.trials[0].attributes.items() if k != "peak_memory_mb"}
    trials = tuple(dataclasses.replace(t, attributes=plain) for t in record.trials)
    shown = sliders(dataclasses.replace(record, trials=trials)) or ""
    assert "limit-latency_ms" in shown and "limit-peak_memory_mb" not in shown
    assert sliders(without_trials(record)) is None
