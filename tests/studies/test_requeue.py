from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState

from ado_nas.measure import lock
from studies.claims import Claim, claim
from studies.folders import trial_folder
from studies.liveness import alive, lives, machine
from studies.requeue import requeue, requeue_crashed, requeue_stale
from studies.session import Session
from studies.worker import Ended

Make = Callable[..., Session]
Run = Callable[[Session], list[Ended]]


def take(session: Session, worker: str) -> Claim:
    got = claim(session, worker)
    assert isinstance(got, Claim)
    return got


def test_lives_knows_the_living_the_dead_and_the_unknown() -> None:
    with alive() as name:
        assert lives(name) is True
    assert lives(name) is False
    assert lives("another-machine/abc") is None


def test_stale_trial_goes_back_once_and_a_living_one_stays(
    make_session: Make, run_worker_here: Run
) -> None:
    session = make_session(trials=3)
    dead = take(session, f"{machine()}/gone")
    folder = session.workspace / "studies" / "fake" / "trials" / str(dead.trial.number)
    folder.mkdir(parents=True)
    with alive() as name:
        living = take(session, name)
        assert requeue_stale(session) == [dead.trial.number]
        assert requeue_stale(session) == []
    assert not folder.exists()
    assert requeue_stale(session) == [living.trial.number]
    ended = run_worker_here(session)
    assert [e.state for e in ended] == ["complete"] * 3
    retries = [t for t in session.study.trials if "retry_of" in t.user_attrs]
    assert [t.user_attrs["retry_of"] for t in retries] == [0, 1]
    assert retries[0].user_attrs["spec_hash"] == dead.candidate.hash
    assert session.study.trials[0].state == TrialState.FAIL


def test_trial_that_another_ends_meanwhile_is_put_back_once(
    make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session()
    dead = take(session, f"{machine()}/gone")
    remove = shutil.rmtree

    def ended_meanwhile(*given: Any, **how: Any) -> None:
        session.study.tell(dead.trial.number, state=TrialState.FAIL)
        remove(*given, **how)

    monkeypatch.setattr(shutil, "rmtree", ended_meanwhile)
    assert requeue_stale(session) == [dead.trial.number]
    assert [t.state for t in session.study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_trial_whose_last_word_arrives_after_its_worker_died_keeps_its_folder(
    make_session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session()
    dead = take(session, "host/a")
    folder = trial_folder(session.workspace, session.config.study, dead.trial.number)
    folder.mkdir(parents=True)
    enqueue = session.study.enqueue_trial

    def ended_meanwhile(*given: Any, **how: Any) -> None:
        enqueue(*given, **how)
        session.study.tell(dead.trial.number, [1.0] * len(session.study.directions))

    monkeypatch.setattr(session.study, "enqueue_trial", ended_meanwhile)
    assert requeue_crashed(session, "host/a", "died") == [0]
    assert folder.exists() and "requeued" not in session.study.trials[0].user_attrs
    again = take(session, "host/b")
    assert again.known is not None and again.known.number == 0  # costs nothing


def test_trial_that_nothing_was_drawn_for_just_ends(make_session: Make) -> None:
    session = make_session()
    session.study.ask()  # killed before it wrote its name
    assert requeue_stale(session) == [0]
    assert len(session.study.trials) == 1


def test_retry_is_not_enqueued_twice_when_the_first_requeue_was_cut_short(
    make_session: Make,
) -> None:
    session = make_session()
    dead = take(session, f"{machine()}/gone")
    marks = {"retry_of": dead.trial.number, "crashes": 0}
    session.study.enqueue_trial(dead.trial.params, user_attrs=marks)  # and then it was killed
    requeue_stale(session)
    waiting = session.study.get_trials(states=[TrialState.WAITING])
    assert len(waiting) == 1


def test_candidate_that_crashes_twice_is_given_up_and_not_drawn_again(make_session: Make) -> None:
    session = make_session()
    first = take(session, "host/a")
    assert requeue_crashed(session, "host/b", "died") == []
    assert requeue_crashed(session, "host/a", "died") == [0]
    second = take(session, "host/c")
    assert second.candidate == first.candidate and second.known is None
    assert requeue_crashed(session, "host/c", "died") == [1]
    assert session.study.get_trials(states=[TrialState.WAITING]) == []
    assert session.study.trials[1].user_attrs["reason"] == "died, 2 times"
    assert "requeued" not in session.study.trials[1].user_attrs


def test_candidate_that_takes_all_processes_down_twice_is_given_up(make_session: Make) -> None:
    session = make_session()
    first = take(session, suddenly_dead())
    assert requeue_stale(session) == [0]
    second = take(session, suddenly_dead())
    assert second.candidate == first.candidate
    assert requeue_stale(session) == [1]
    assert session.study.get_trials(states=[TrialState.WAITING]) == []
    reason = session.study.trials[1].user_attrs["reason"]
    assert reason == "its process was killed with its supervisor, 2 times"


def test_worker_that_ended_in_order_counts_against_nobody(make_session: Make) -> None:
    session = make_session()
    for number in range(4):
        with alive() as name:
            got = take(session, name)
        assert got.trial.number == number
        assert requeue_stale(session) == [number]
    (waiting,) = session.study.get_trials(states=[TrialState.WAITING])
    assert waiting.user_attrs["crashes"] == 0


def suddenly_dead() -> str:
    """The name of a worker whose machine went down."""
    with alive() as name:
        token = name.rpartition("/")[2]
    (lock.folder() / "workers" / f"{token}.lock").touch()
    return name


def test_trial_stopped_on_purpose_goes_back(make_session: Make) -> None:
    session = make_session()
    dropped = take(session, "host/a")
    requeue(session, dropped.trial.number)
    assert take(session, "host/b").candidate == dropped.candidate
