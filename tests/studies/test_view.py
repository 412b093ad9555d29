from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optuna.trial import TrialState

from studies.session import Session
from studies.view import View


def test_record_is_made_anew_only_when_something_has_ended(
    make_session: Callable[..., Session], run_worker_here: Callable[..., list[Any]]
) -> None:
    session = make_session(trials=2)
    view = View(session.store, session.study._study_id)
    before = view.record()
    running = session.study.ask()
    assert view.record() is before is view.last_record()
    assert view.trials([running.number])[running.number].state == "running"
    session.study.tell(running, state=TrialState.FAIL)
    run_worker_here(session)
    after = view.record()
    assert after.trained == 2 and after.front and after is view.record()
    session.study.set_user_attr("remeasured", {"1": {"retention": 0.5}})
    assert view.record().remeasured == {1: {"retention": 0.5}}
    assert view.trials(range(3))[2] == after.trial(2)


def test_attributes_are_written_and_replaced_at_once(
    storage: str, make_session: Callable[..., Session]
) -> None:
    session = make_session(storage=storage)
    view = View(session.store, session.study._study_id)
    before = view.attributes()
    with view.alone():
        view.write({"a": "x" * 2045, "b": {"at": 1.5}})
        view.write({"a": "", "c": 3})
    assert view.attributes() == {**before, "a": "", "b": {"at": 1.5}, "c": 3}
