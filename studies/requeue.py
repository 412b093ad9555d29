"""What becomes of trials whose worker died: they go back in the queue, once and only once."""

from __future__ import annotations

import contextlib
import shutil
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from studies.folders import trial_folder
from studies.heartbeat import Watch
from studies.ledger import REQUEUED, RETRY
from studies.liveness import killed, lives
from studies.session import Session
from studies.settlement import TRAINED, settle_crash, settle_failure

CRASHES = 2  # that a candidate may cause before it is given up
INTERRUPTED = "interrupted"
KILLED = "its process was killed with its supervisor"
SILENT = "its machine fell silent"


def requeue_stale(session: Session, watch: Watch | None = None) -> list[int]:
    """Put back every running trial whose worker is gone; give up who may be the cause again.

    A sudden death counts, as by a candidate that takes the whole machine down. What ended in order
    does not, nor what fell silent while the storage was away.

    Args:
        session: of the supervisor.
        watch: what it has seen of other machines; without it, their workers count as living.

    Returns:
        The numbers of these trials.
    """
    seen = watch or Watch()
    with session.store.lock(session.config.study):
        seen.look()
        running = session.trials(TrialState.RUNNING)
        found = [(t, cause) for t in running if (cause := _death(t, seen))]
        for trial, cause in found:
            if cause == INTERRUPTED:
                _put_back(session, trial, cause, crashes=_crashes(trial))
            else:
                _bury(session, trial, cause)
    return [t.number for t, _ in found]


def requeue(session: Session, number: int) -> None:
    """Put back one trial that was stopped on purpose."""
    with session.store.lock(session.config.study):
        for trial in session.trials(TrialState.RUNNING):
            if trial.number == number:
                _put_back(session, trial, INTERRUPTED, crashes=_crashes(trial))


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
        mine = _of(session, worker)
        for trial in mine:
            _bury(session, trial, cause)
    return [t.number for t in mine]


def requeue_lost(session: Session, number: int, cause: str) -> None:
    """Put back a trial that was trained, and whose model is lost, to be trained again.

    Args:
        session: of the worker that was to time it.
        number: of the trial.
        cause: how it was lost; the second time ends the trial.
    """
    with session.store.lock(session.config.study):
        for trial in session.trials(TrialState.RUNNING):
            if trial.number == number and (crashes := _crashes(trial) + 1) < CRASHES:
                _start_over(session, trial, cause, crashes)
            elif trial.number == number:
                settle_failure(session, _open(session, trial), f"{cause}, {crashes} times")


def release(session: Session, worker: str) -> None:
    """Put back what a worker claimed while the lock was lost: another may have claimed the same.

    Args:
        session: of the worker.
        worker: this one; it evaluates nothing now.
    """
    with session.store.lock(session.config.study):
        for trial in _of(session, worker):
            _put_back(session, trial, "the storage went away", crashes=_crashes(trial))


def _of(session: Session, worker: str) -> list[FrozenTrial]:
    running = session.trials(TrialState.RUNNING)
    return [t for t in running if t.user_attrs.get("worker") == worker]


def _bury(session: Session, trial: FrozenTrial, cause: str) -> None:
    """Put back a trial whose worker died of itself, but for that of a candidate's second death."""
    crashes = _crashes(trial) + 1
    if crashes < CRASHES:
        _put_back(session, trial, cause, crashes)
        return
    with contextlib.suppress(UpdateFinishedTrialError):  # as in `_end`
        settle_crash(session, _open(session, trial), f"{cause}, {crashes} times")
        _remove_folder(session, trial)


def _put_back(session: Session, trial: FrozenTrial, cause: str, crashes: int) -> None:
    if TRAINED in trial.user_attrs:  # its training is not lost: somebody else may time it
        for key, value in {"crashes": crashes, "worker": ""}.items():
            session.store.storage.set_trial_user_attr(trial._trial_id, key, value)
        return
    _start_over(session, trial, cause, crashes)


def _start_over(session: Session, trial: FrozenTrial, cause: str, crashes: int) -> None:
    # Enqueued before it is ended: a death in between leaves both, never none.
    trials = session.trials()
    later = [t for t in trials if t.user_attrs.get(RETRY) == trial.number]
    now = trials[trial.number]  # drawn further, perhaps, while the storage was away
    params = {**now.system_attrs.get("fixed_params", {}), **now.params}
    if params and not later:
        marks = {RETRY: trial.number, "crashes": crashes}
        session.study.enqueue_trial(params, user_attrs=marks)
    _end(session, trial, {"reason": cause, REQUEUED: True})


def _end(session: Session, trial: FrozenTrial, marks: dict[str, Any]) -> None:
    # It may have ended since: the last word of a dead worker was still on its way to the server,
    # or the storage went away, and the lock with it. Then its folder is that of a scored trial.
    with contextlib.suppress(UpdateFinishedTrialError):
        for key, value in marks.items():
            session.store.storage.set_trial_user_attr(trial._trial_id, key, value)
        _remove_folder(session, trial)
    session.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _remove_folder(session: Session, trial: FrozenTrial) -> None:
    folder = trial_folder(session.workspace, session.config.study, trial.number)
    shutil.rmtree(folder, ignore_errors=True)


def _open(session: Session, trial: FrozenTrial) -> optuna.Trial:
    return optuna.trial.Trial(session.study, trial._trial_id)


def _crashes(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get("crashes", 0))


def _death(trial: FrozenTrial, watch: Watch) -> str:
    """What ended the worker of a running trial; empty where it lives."""
    worker = trial.user_attrs.get("worker")
    if worker is None:
        return INTERRUPTED  # it died while it held the lock, before it wrote its name
    if worker == "":
        return ""  # trained, and waits to be timed
    living = lives(worker)
    if living is None:
        if not watch.silent(trial):
            return ""
        return SILENT if watch.met(trial) else INTERRUPTED
    if living:
        return ""
    return KILLED if killed(worker) else INTERRUPTED
