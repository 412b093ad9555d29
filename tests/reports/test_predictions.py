from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable

import pytest

from reports.accuracy import accuracy_figure, accuracy_said
from reports.document import document
from reports.predictions import errors, told
from reports.why import parts_section, reasons
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def test_errors_are_those_of_every_trial_that_was_told_and_measured(
    make_study: MakeStudy,
) -> None:
    record = make_study()
    off = {
        t.number: abs(t.attributes["predicted_latency_ms"] / t.values["latency_ms"] - 1)
        for t in record.trials
        if "predicted_latency_ms" in t.attributes
    }
    found = errors(record)
    assert found["latency_ms"]["trials"] == len(off) > 4
    assert found["latency_ms"]["median_error"] == pytest.approx(statistics.median(off.values()))
    assert sum(e <= found["latency_ms"]["error_90"] for e in off.values()) >= 0.9 * len(off)
    assert {t.trial.number for t in told(record)["latency_ms"]} == set(off)
    assert f"{found['latency_ms']['median_error']:.0%} at the median" in accuracy_said(record)
    assert document(record)["predictions"] == found


def test_training_memory_is_that_of_the_largest_batch(make_study: MakeStudy) -> None:
    pairs = told(make_study())["training_memory_mb"]
    assert pairs and all(t.measured >= 24.0 for t in pairs)


@pytest.mark.parametrize("plan", ["", "{", "[]", '{"plans": []}', '{"plans": [{}]}', "null"])
def test_study_that_stored_no_prediction_has_no_figure(make_study: MakeStudy, plan: str) -> None:
    record = make_study()
    trials = tuple(
        dataclasses.replace(
            t,
            attributes={k: v for k, v in t.attributes.items() if not k.startswith("predicted_")}
            | {"memory_plan": plan},
        )
        for t in record.trials
    )
    record = dataclasses.replace(record, trials=trials)
    assert told(record) == {} and accuracy_figure(record) is None
    assert document(record)["predictions"] == {}
    assert "Predicted" not in str(parts_section(record, reasons(record)))


def test_duplicates_do_not_count_and_candidates_that_were_ruled_out_are_told(
    make_study: MakeStudy,
) -> None:
    record = make_study()
    before = len(told(record)["latency_ms"])
    ended = [t for t in record.trials if "gap" not in t.values and not t.values][:2]
    copied = dataclasses.replace(
        record.trial(told(record)["latency_ms"][0].trial.number), state="duplicate"
    )
    out = dataclasses.replace(
        ended[0],
        state="infeasible",
        attributes={"predicted_latency_ms": 99.0},
        reason="predicted: latency over its limit by 200%",
    )
    trials = {t.number: t for t in (*record.trials, copied, out)}
    changed = dataclasses.replace(record, trials=tuple(trials[n] for n in sorted(trials)))
    assert len(told(changed)["latency_ms"]) == before - 1
    assert "1 candidate was not built at all" in accuracy_said(changed)
    assert "not built" not in accuracy_said(record)
