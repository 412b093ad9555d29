"""How a worker gets its next candidate: one at a time, so that no budget is claimed twice."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from ado_nas.specs import Candidate
from search_spaces.candidate import draw
from studies.ledger import original, standing
from studies.session import Session


@dataclass(frozen=True)
class Claim:
    """A trial that is this worker's to end. `known` is a trial that scored its candidate."""

    trial: optuna.Trial
    candidate: Candidate
    known: FrozenTrial | None


def claim(session: Session, worker: str) -> Claim | str:
    """Start a trial if the study wants one.

    Counting, drawing and writing down happen under the study's lock: two workers can neither take
    the last slot both nor draw the same candidate.

    Args:
        session: of this process.
        worker: its name, see `studies.liveness`.

    Returns:
        The claim; ``done`` where nothing more is wanted; ``wait`` where trials that run may be
        the last, or may still fail.
    """
    config = session.config
    with session.store.lock(config.study):
        trials = session.trials()
        now = standing(trials)
        if now.done(config.trials, config.patience):
            return "done"
        if now.full(config.trials):
            return "wait"
        trial = session.study.ask()
        base = session.task.teacher.unet
        candidate = draw(session.space, trial, base, config.distillation)
        marks = {"worker": worker, "spec_hash": candidate.hash}
        session.store.write_attributes(trial._trial_id, marks)
    return Claim(trial, candidate, original(trials, candidate.hash, trial.number))
