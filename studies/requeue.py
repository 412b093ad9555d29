"""What becomes of trials whose worker died: they go back in the queue, once and only once."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from studies.folders import trial_folder
from studies.liveness import lives
from studies.session import Session

REMOTE_HOURS = 1.0  # a trial of another machine, which cannot be seen, counts as lost after this
CRASHES = 2  # that a candidate may cause before it is given up


def requeue_stale(session: Session) -> list[int]:
    """Put back every running trial whose worker is gone, as after a `kill -9`.

    Args:
        session: of the supervisor.

    Returns:
        The numbers of the trials put back.
    """
    with session.store.lock(session.config.study):
        stale = [t for t in session.trials(TrialState.RUNNING) if _stale(t)]
        for trial in stale:
            _put_back(session, trial, "interrupted", crashes=_crashes(trial))
    return [t.number for t in stale]


def requeue(session: Session, number: int) -> None:
    """Put back one trial that was stopped on purpose."""
    with session.store.lock(session.config.study):
        for trial in session.trials(TrialState.RUNNING):
            if trial.number == number:
                _put_back(session, trial, "interrupted", crashes=_crashes(trial))


def requeue_crashed(session: Session, worker: str, cause: str) -> list[int]:
    """Put back the trials of a worker that died by itself; give up who caused it before.

    Args:
        session: of the supervisor.
        worker: the dead one.
        cause: how it died, in a few words.

    Returns:
        The numbers of its trials.
    """
    with session.store.lock(session.config.study):
        running = session.trials(TrialState.RUNNING)
        mine = [t for t in running if t.user_attrs.get("worker") == worker]
        for trial in mine:
            crashes = _crashes(trial) + 1
            if crashes < CRASHES:
                _put_back(session, trial, cause, crashes)
            else:
                _end(session, trial, {"reason": f"{cause}, {crashes} times"})
    return [t.number for t in mine]


def _put_back(session: Session, trial: FrozenTrial, cause: str, crashes: int) -> None:
    # Enqueued before it is ended: a death in between leaves both, never none.
    later = [t for t in session.trials() if t.user_attrs.get("retry_of") == trial.number]
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if params and not later:
        marks = {"retry_of": trial.number, "crashes": crashes}
        session.study.enqueue_trial(params, user_attrs=marks)
    _end(session, trial, {"reason": cause, "requeued": True})


def _end(session: Session, trial: FrozenTrial, marks: dict[str, Any]) -> None:
    folder = trial_folder(session.workspace, session.config.study, trial.number)
    shutil.rmtree(folder, ignore_errors=True)
    for key, value in marks.items():
        session.store.storage.set_trial_user_attr(trial._trial_id, key, value)
    session.study.tell(trial.number, state=TrialState.FAIL)


def _crashes(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get("crashes", 0))


def _stale(trial: FrozenTrial) -> bool:
    alive = lives(str(trial.user_attrs.get("worker", "")))
    if alive is not None:
        return not alive
    if "worker" not in trial.user_attrs or trial.datetime_start is None:
        return True  # it died while it held the lock, before it wrote its name
    started = trial.datetime_start.astimezone(UTC)
    return datetime.now(UTC) - started > timedelta(hours=REMOTE_HOURS)
