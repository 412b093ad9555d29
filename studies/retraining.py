"""One finalist trained again from one seed, and how a process gets the next one."""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ado_nas.errors import Diverged, OutOfMemory, StudyError, full_disk
from objectives.scores import Evaluator, Limits
from studies.config import SearchConfig
from studies.evaluation import evaluation_module
from studies.finalists import CHOSEN, ENDED, key
from studies.folders import trial_folder
from studies.heartbeat import BEAT, BEAT_SECONDS, Watch, counting
from studies.liveness import alive, lives
from studies.processes import Channel
from studies.requeue import CRASHES
from studies.session import Session, open_session
from studies.worker import WAIT_SECONDS, Stopped, plainly


@dataclass(frozen=True)
class Training:
    """One training that is wanted: of which trial, from which seed."""

    number: int
    seed: int

    @property
    def key(self) -> str:
        """The study's attribute that holds it."""
        return key(self.number, self.seed)


def wanted(session: Session) -> list[Training]:
    """The trainings that the study's plan asks for, whether they have ended or not."""
    return planned(session.study.user_attrs[CHOSEN])


def planned(plan: Mapping[str, list[int]]) -> list[Training]:
    """The trainings of a plan: each of its ``numbers`` from each of its ``seeds``."""
    # Seed by seed, so that a search that is stopped has tried every finalist once.
    return [Training(n, s) for s in plan["seeds"] for n in plan["numbers"]]


def rows_of(session: Session, trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """What the study holds of these trainings; empty of one that nobody has begun."""
    attributes = session.study.user_attrs
    return [attributes.get(training.key, {}) for training in trainings]


def ended(row: dict[str, Any]) -> bool:
    """Whether a training is over, be it judged or not."""
    return row.get("state") in ENDED


def train_again(
    session: Session, evaluator: Evaluator, worker: str, order: Callable[[], str]
) -> Iterator[str]:
    """Train what is wanted until nothing is left.

    Args:
        session: of this process; its study says who the finalists are.
        evaluator: opened on the session's task.
        worker: this worker's name.
        order: the supervisor's last order; empty is carry on.

    Yields:
        A phrase on each training that has ended.
    """
    watch = Watch(gap=BEAT_SECONDS)
    while not order():
        claimed = _claim(session, worker, watch)
        if claimed == "done":
            return
        if isinstance(claimed, str):
            time.sleep(WAIT_SECONDS)
            continue
        try:
            with counting(session.store, functools.partial(_beat, session, claimed, worker)):
                row = _trained(session, claimed, evaluator, order)
        except Stopped:
            return  # its claim dies with this worker
        except Exception as error:
            if full_disk(error) or isinstance(error, StudyError):
                raise  # not of the candidate; its claim dies with this worker
            row = _broken(session, claimed, traceback.format_exception_only(error)[-1].strip())
        session.study.set_user_attr(claimed.key, row)
        if not ended(row):
            continue
        why = f": {row['reason']}" if row["reason"] else ""
        yield f"trial {claimed.number} from seed {claimed.seed} {row['state']}{why}"


def run_retraining(channel: Channel, config: SearchConfig, workspace: Path, index: int) -> None:
    """Be a process that trains finalists again.

    Args:
        channel: to the supervisor; gets ``("worker", name)`` and ``("trial", phrase)``.
        config: of the search.
        workspace: absolute.
        index: number of the process.
    """
    with alive() as name, plainly():
        channel.send("worker", name)
        session = open_session(config, workspace, index, patient=True)
        module = evaluation_module(config.evaluator)
        evaluator = module.open_evaluator(session.task, workspace, session.facts, True)
        with contextlib.closing(session.store):
            for phrase in train_again(session, evaluator, name, channel.order):
                channel.send("trial", phrase)


def give_up(session: Session, worker: str, cause: str) -> None:
    """Count the death of a process against what it trained; the second one ends that.

    Args:
        session: of the supervisor.
        worker: the dead one.
        cause: how it died, in a few words.
    """
    with session.store.lock(session.config.study):
        trainings = wanted(session)
        for training, row in zip(trainings, rows_of(session, trainings), strict=True):
            if worker and row.get("worker") == worker and not ended(row):
                session.study.set_user_attr(training.key, _broken(session, training, cause))


def _claim(session: Session, worker: str, watch: Watch) -> Training | str:
    """Take a training; ``done`` where all have ended, ``wait`` where others are at the rest."""
    with session.store.lock(session.config.study):
        watch.look()
        trainings = wanted(session)
        rows = rows_of(session, trainings)
        for training, row in zip(trainings, rows, strict=True):
            if not ended(row) and not _held(training, row, watch):
                held = {"worker": worker, "crashes": row.get("crashes", 0)}
                session.study.set_user_attr(training.key, held)
                return training
    return "done" if all(map(ended, rows)) else "wait"


def _held(training: Training, row: dict[str, Any], watch: Watch) -> bool:
    if not row.get("worker"):
        return False
    living = lives(str(row["worker"]))
    return not watch.still(training.key, row) if living is None else living


def _beat(session: Session, training: Training, worker: str, count: int) -> None:
    (row,) = rows_of(session, [training])
    if row.get("worker") == worker:
        session.study.set_user_attr(training.key, {**row, BEAT: count})


def _trained(
    session: Session, training: Training, evaluator: Evaluator, order: Callable[[], str]
) -> dict[str, Any]:
    """Train once; the row to store."""

    def report(rung: int, scores: dict[str, float]) -> bool:
        if order() == "stop":
            raise Stopped
        return False

    started = time.monotonic()
    params = session.trials()[training.number].params
    folder = trial_folder(session.workspace, session.config.study, training.number)
    folder = folder / "seeds" / str(training.seed)
    try:
        # Its costs are known and allowed, and how good it is shall be seen.
        outcome = evaluator(
            session.candidate(params),
            seed=training.seed,
            folder=folder,
            limits=Limits(min_retention=0.0),
            report=report,
        )
    except (Diverged, OutOfMemory, MemoryError) as error:
        return _row(training, "pruned", str(error) or "out of memory")
    state = "complete" if outcome.state == "complete" else "pruned"
    found: dict[str, Any] = {"seconds": round(time.monotonic() - started, 2)}
    if state == "complete":
        found["folder"] = str(folder.relative_to(session.workspace))
    return {**_row(training, state, outcome.reason), **found}


def _broken(session: Session, training: Training, cause: str) -> dict[str, Any]:
    """What to store of a training that broke, or whose process did: the second time ends it."""
    (row,) = rows_of(session, [training])
    crashes = int(row.get("crashes", 0)) + 1
    if crashes >= CRASHES:
        return _row(training, "failed", f"{cause}, {crashes} times")
    return {"worker": "", "crashes": crashes}


def _row(training: Training, state: str, reason: str) -> dict[str, Any]:
    return {"seed": training.seed, "state": state, "reason": reason}
