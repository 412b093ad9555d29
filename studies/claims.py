"""How a worker gets its next candidate: one at a time, so that no budget is claimed twice."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from ado_nas.specs import Candidate
from objectives.scores import Outcome
from search_spaces.candidate import draw
from studies.ledger import original, standing
from studies.requeue import release
from studies.session import Session
from studies.settlement import TRAINED


@dataclass(frozen=True)
class Claim:
    """A trial that is this worker's to end.

    `known` is a trial that scored its candidate; `trained` is what it came to elsewhere, where
    only the timing is left.
    """

    trial: optuna.Trial
    candidate: Candidate
    known: FrozenTrial | None
    trained: Outcome | None = None


def claim(session: Session, worker: str, timing: bool = True) -> Claim | str:
    """Start a trial if the study wants one.

    Counting, drawing and writing down happen under the study's lock: two workers can neither take
    the last slot both nor draw the same candidate.

    Args:
        session: of this process.
        worker: its name, see `studies.liveness`.
        timing: whether it may time what others have trained.

    Returns:
        The claim; ``done`` where nothing more is wanted; ``wait`` where trials that run may be
        the last, may still fail, or may be left to be timed.
    """
    while True:
        # A server that goes away gives the lock to others: they may put back what is half drawn.
        with contextlib.suppress(UpdateFinishedTrialError):
            with session.store.lock(session.config.study) as hold:
                claimed = _take(session, worker, timing)
            if not hold.lost:
                return claimed
        release(session, worker)


def _take(session: Session, worker: str, timing: bool) -> Claim | str:
    config = session.config
    trials = session.trials()
    if timing and (waiting := _untimed(trials)):
        return _take_over(session, waiting, worker)
    now = standing(trials)
    if now.done(config.trials, config.patience):
        return "wait" if timing and now.running else "done"
    if now.full(config.trials):
        return "wait"
    trial = session.study.ask()
    base = session.task.teacher.unet
    candidate = draw(session.space, trial, base, config.distillation)
    marks = {"worker": worker, "spec_hash": candidate.hash}
    session.store.write_attributes(trial._trial_id, marks)
    return Claim(trial, candidate, original(trials, candidate.hash, trial.number))


def _untimed(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """A trial that was trained on another device and belongs to nobody."""
    running = (t for t in trials if t.state == TrialState.RUNNING)
    free = (t for t in running if t.user_attrs.get("worker") == "" and TRAINED in t.user_attrs)
    return next(free, None)


def _take_over(session: Session, waiting: FrozenTrial, worker: str) -> Claim:
    trial = optuna.trial.Trial(session.study, waiting._trial_id)
    trial.set_user_attr("worker", worker)
    outcome = Outcome(**json.loads(waiting.user_attrs[TRAINED]))
    return Claim(trial, session.candidate(waiting.params), None, outcome)
