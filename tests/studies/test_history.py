from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ado_nas.errors import StudyError
from objectives.scores import Outcome
from reports.summary import summary
from studies.claims import claim
from studies.history import study_record
from studies.record import load
from studies.session import Session
from studies.settlement import settle


def test_load_names_the_nearest_when_the_study_is_unknown(
    make_session: Callable[..., Session],
) -> None:
    url = make_session().store.url
    with pytest.raises(StudyError, match=r"no study 'fakke'.*did you mean 'fake'"):
        load(url, "fakke")


def test_load_says_how_to_start_when_there_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there is none yet"):
        load(f"sqlite:///{tmp_path}/none.db", "digits")


def test_record_shows_what_runs_and_hides_what_waits(
    make_session: Callable[..., Session], tmp_path: Path
) -> None:
    session = make_session()
    claim(session, "host/a")
    session.study.enqueue_trial({"steps": 4})
    record = load(session.store.url, "fake", tmp_path)
    assert [t.state for t in record.trials] == ["running"]
    assert record.trials[0].params and record.trials[0].seconds == 0.0
    assert (record.front, record.best, record.hypervolume) == ((), None, 0.0)
    assert record.reference["nfe"] == 50


def test_score_that_was_no_number_leaves_the_study_readable(
    make_session: Callable[..., Session], tmp_path: Path
) -> None:
    session = make_session()
    claimed = claim(session, "host/a")
    assert not isinstance(claimed, str)
    figures = {"gap": math.nan, "latency_ms": 2.0, "size_mb": 0.5}
    assert settle(session, claimed, Outcome("complete", figures, {}, figures)) == "pruned"
    (trial,) = load(session.store.url, "fake", tmp_path).trials
    assert "not finite" in trial.reason and "gap" not in trial.values


def test_front_member_that_is_dominated_by_what_was_measured_later_stays_and_is_marked(
    make_session: Callable[..., Session], run_worker_here: Callable[..., object], tmp_path: Path
) -> None:
    session = make_session(trials=6)
    run_worker_here(session)
    before = study_record(session.study, tmp_path)
    assert len(before.front) > 1 and before.dominated == ()
    smallest = min(before.front, key=lambda n: before.trial(n).values["size_mb"])
    lost = next(n for n in before.front if n != smallest)
    worse = {"gap": 99.0, "retention": 0.11, "latency_ms": 99.0, "repeated": False}
    session.study.set_user_attr("remeasured", {str(lost): worse})
    record = study_record(session.study, tmp_path)
    assert (record.front, record.dominated) == (before.front, (lost,))
    marks = {e["number"]: e["dominated"] for e in summary(record, None)["front"]}
    assert marks == {n: n == lost for n in record.front}
