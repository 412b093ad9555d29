"""Finalists trained again from other seeds: who they are, their processes, their judgment."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field
from typing import Any

from ado_nas.progress import Progress
from ado_nas.runtime import core_share, default_workers
from studies.collection import intact
from studies.evaluation import run_remeasurement
from studies.finalists import CHOSEN, chosen, measured
from studies.history import study_record
from studies.ledger import TRAINED_FROM
from studies.processes import Child, call
from studies.retraining import (
    Training,
    ended,
    give_up,
    planned,
    rows_of,
    run_retraining,
    wanted,
)
from studies.session import Session
from studies.supervisor import Crew, Member

_log = logging.getLogger(__name__)


def retrain(session: Session, progress: Progress) -> None:
    """Train the finalists again and measure them; what is stored already is not done again.

    Args:
        session: of a study whose front has been measured again.
        progress: gets ``finalists``, how many trainings of how many, and a note on each.

    Raises:
        AdoNasError: what a process raised.
        KeyboardInterrupt: after the processes have stopped; the same call resumes.
        RuntimeError: a process broke.
    """
    trainings = _plan(session)
    _drop_damaged(session, trainings)
    if not all(map(ended, rows_of(session, trainings))):
        _train(session, trainings, progress)
    _measure(session, trainings, progress)


def unfinished(session: Session) -> bool:
    """Whether a finalist is still to be trained again or measured."""
    return not all(map(measured, rows_of(session, planned(_chosen(session)))))


@dataclass
class Trainers(Crew):
    """The processes of one run, with what they train."""

    trainings: list[Training] = field(default_factory=list)

    def start(self, index: int) -> None:
        """Start a process."""
        config, workspace = self.session.config, self.session.workspace
        self.members.append(Member(index, Child(run_retraining, config, workspace, index)))

    def _note(self, phrase: Any) -> None:
        self.deaths = 0
        self.progress("finalists", self.done, len(self.trainings), str(phrase))

    def _bury(self, member: Member, cause: str) -> None:
        give_up(self.session, member.name, cause)
        self.progress("finalists", self.done, len(self.trainings), cause)
        self._succeed(member, cause)

    @property
    def done(self) -> int:
        """How many trainings have ended."""
        return sum(map(ended, rows_of(self.session, self.trainings)))


def _plan(session: Session) -> list[Training]:
    """Choose the finalists and write them down; what was trained before stays and is used."""
    plan = _chosen(session)
    if session.study.user_attrs.get(CHOSEN) != plan:
        session.study.set_user_attr(CHOSEN, plan)
    return wanted(session)


def _chosen(session: Session) -> dict[str, list[int]]:
    config = session.config
    numbers = chosen(study_record(session.study, session.workspace), config.finalists)
    # None that a trial won by, of an earlier study either.
    won = {trial.user_attrs.get(TRAINED_FROM) for trial in session.trials()}
    fresh = (seed for seed in itertools.count(config.seed + 1) if seed not in won)
    return {"numbers": numbers, "seeds": list(itertools.islice(fresh, config.finalist_seeds))}


def _drop_damaged(session: Session, trainings: list[Training]) -> None:
    """Have trainings done again whose model was lost or damaged before it was judged."""
    with session.store.lock(session.config.study):
        for training, row in zip(trainings, rows_of(session, trainings), strict=True):
            if ended(row) and not measured(row) and not intact(session.workspace / row["folder"]):
                _log.warning("%s is damaged; it is trained again", row["folder"])
                session.study.set_user_attr(training.key, {})


def _train(session: Session, trainings: list[Training], progress: Progress) -> None:
    crew = Trainers(session, progress, trainings=trainings)
    count = min(session.config.workers or default_workers(), len(trainings))
    progress("finalists", crew.done, len(trainings))
    try:
        with core_share(count):
            for index in range(count):
                crew.start(index)
            while crew.members:
                crew.listen()
    except KeyboardInterrupt:
        crew.stop()
        raise
    finally:
        crew.close()


def _measure(session: Session, trainings: list[Training], progress: Progress) -> None:
    """Judge what was trained and not judged yet, all with one judge."""
    rows = rows_of(session, trainings)
    fresh = [(t, r) for t, r in zip(trainings, rows, strict=True) if ended(r) and not measured(r)]
    if not fresh:
        return
    found = call(
        run_remeasurement,
        session.config.evaluator,
        session.task,
        session.workspace,
        [session.workspace / row["folder"] for _, row in fresh],
        session.facts,
        progress=progress,
    )
    for (training, row), figures in zip(fresh, found, strict=True):
        session.study.set_user_attr(training.key, {**figures, **row})
