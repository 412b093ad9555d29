from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from optuna.trial import FrozenTrial, TrialState

from studies import heartbeat
from studies.claims import Claim, claim
from studies.heartbeat import BEAT, GAP_SECONDS, SILENCE_SECONDS, Watch, beating
from studies.requeue import requeue_stale
from studies.session import Session

Make = Callable[..., Session]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A steady clock that the test moves."""
    now = [1000.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    return now


def looked(session: Session, watch: Watch, clock: list[float], seconds: float) -> list[int]:
    """What goes back while somebody looks now and then for so long."""
    found = []
    for _ in range(8):
        clock[0] += seconds / 8
        found += requeue_stale(session, watch)
    return found


def running(session: Session) -> FrozenTrial:
    (trial,) = session.trials(TrialState.RUNNING)
    return trial


def test_trial_of_another_machine_goes_back_when_its_counter_stands_still(
    make_session: Make, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, watch = make_session(), Watch()
    got = claim(session, "elsewhere/a")
    assert isinstance(got, Claim)
    for beat in range(1, 4):
        assert looked(session, watch, clock, SILENCE_SECONDS - 1) == []
        session.store.storage.set_trial_user_attr(got.trial._trial_id, BEAT, beat)
    assert requeue_stale(session, watch) == []
    for jump in (-1e9, 1e9):  # the time of day is of no matter, here or there
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
        assert requeue_stale(session, watch) == []
    assert requeue_stale(session, Watch()) == []  # who looks for the first time cannot tell
    assert looked(session, watch, clock, SILENCE_SECONDS + 1) == [0]
    assert [t.user_attrs["retry_of"] for t in session.trials(TrialState.WAITING)] == [0]


def test_nobody_is_taken_for_dead_after_the_storage_was_away(
    make_session: Make, clock: list[float]
) -> None:
    session, watch = make_session(), Watch()
    first, second = claim(session, "elsewhere/a"), claim(session, "elsewhere/b")
    assert isinstance(first, Claim) and isinstance(second, Claim)
    assert looked(session, watch, clock, GAP_SECONDS) == []
    clock[0] += 2 * SILENCE_SECONDS  # nobody could write or look
    assert requeue_stale(session, watch) == []
    session.store.storage.set_trial_user_attr(first.trial._trial_id, BEAT, 1)
    assert looked(session, watch, clock, SILENCE_SECONDS - 1) == []
    assert looked(session, watch, clock, 4) == [second.trial.number]
    (retry,) = session.trials(TrialState.WAITING)
    assert retry.user_attrs["crashes"] == 0  # it may have ended in order, unable to say so
    assert looked(session, watch, clock, SILENCE_SECONDS + 1) == [first.trial.number]
    retries = session.trials(TrialState.WAITING)
    assert [t.user_attrs["crashes"] for t in retries] == [0, 1]


def test_candidate_that_silences_two_machines_is_given_up(
    make_session: Make, clock: list[float]
) -> None:
    session, watch = make_session(), Watch()
    requeue_stale(session, watch)
    first = claim(session, "elsewhere/a")
    assert isinstance(first, Claim)
    assert looked(session, watch, clock, 2 * SILENCE_SECONDS) == [0]
    second = claim(session, "elsewhere/b")
    assert isinstance(second, Claim) and second.candidate == first.candidate
    assert looked(session, watch, clock, 2 * SILENCE_SECONDS) == [1]
    assert session.trials(TrialState.WAITING) == []
    (given_up,) = session.trials(TrialState.PRUNED)
    assert given_up.user_attrs["reason"] == "its machine fell silent, 2 times"


def test_beating_counts_in_the_trial_until_the_block_ends(
    make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    session = make_session()
    got = claim(session, "elsewhere/a")
    assert isinstance(got, Claim)
    until = time.monotonic() + 60
    with beating(session.store, got.trial._trial_id):
        while running(session).user_attrs.get(BEAT, 0) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
    count = running(session).user_attrs[BEAT]
    assert count > 1
    time.sleep(0.1)
    assert running(session).user_attrs[BEAT] == count


def test_beating_ends_quietly_when_the_trial_was_put_back(
    make_session: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    session = make_session()
    got = claim(session, "elsewhere/a")
    assert isinstance(got, Claim)
    session.study.tell(got.trial, state=TrialState.FAIL)
    until = time.monotonic() + 60
    with beating(session.store, got.trial._trial_id), caplog.at_level("INFO"):
        while "no more signs of life" not in caplog.text:
            assert time.monotonic() < until
            time.sleep(0.02)
    assert BEAT not in session.trials()[0].user_attrs
