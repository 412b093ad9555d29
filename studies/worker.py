"""The loop of one worker: claim a candidate, evaluate it, end its trial, until all is done."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ado_nas.errors import (
    NO_SPACE,
    ArtifactError,
    Diverged,
    ModelError,
    OutOfMemory,
    StudyError,
    WorkspaceError,
    full_disk,
)
from objectives.scores import Evaluator, Outcome
from studies.claims import Claim, claim
from studies.collection import restore
from studies.config import SearchConfig
from studies.evaluation import evaluation_module
from studies.folders import trial_folder
from studies.heartbeat import beating
from studies.liveness import alive
from studies.parts import pulled_task
from studies.processes import Channel
from studies.requeue import requeue, requeue_lost
from studies.rungs import Climb
from studies.session import Session, open_session
from studies.settlement import (
    attach,
    ended_elsewhere,
    hand_over,
    settle,
    settle_duplicate,
    settle_failure,
)

WAIT_SECONDS = 0.2


class Stopped(Exception):
    """The supervisor wants the worker to drop its trial."""


@dataclass(frozen=True)
class Ended:
    """A trial that this worker has ended. `trace` is the traceback of a failed one."""

    number: int
    state: str
    values: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    trace: str = ""


def work(
    session: Session,
    evaluator: Evaluator,
    worker: str,
    order: Callable[[], str],
    timed: bool = True,
) -> Iterator[Ended]:
    """Evaluate candidates until the study wants no more.

    Args:
        session: of this process.
        evaluator: opened on the session's task.
        worker: this worker's name.
        order: the supervisor's last order; empty is carry on.
        timed: whether this is the study's own device.

    Yields:
        Each trial as it has ended.
    """
    while not order():
        claimed = claim(session, worker, timed)
        if claimed == "done":
            return
        if isinstance(claimed, str):
            time.sleep(WAIT_SECONDS)
            continue
        try:
            yield _end(session, claimed, evaluator, order)
        except Stopped:
            requeue(session, claimed.trial.number)
            return


def run_worker(
    channel: Channel,
    config: SearchConfig,
    workspace: Path,
    index: int,
    joined: bool = False,
    timed: bool = True,
) -> bool:
    """Be a worker process.

    Args:
        channel: to the supervisor; gets ``("worker", name)`` and ``("trial", Ended)``.
        config: of the search.
        workspace: absolute.
        index: number of the worker.
        joined: whether the workspace is not the search's.
        timed: whether this is the study's own device.

    Returns:
        Whether it has ended as many trials as one process should, and another is to go on.
    """
    with alive() as name, plainly():
        channel.send("worker", name)
        session = open_session(config, workspace, index, joined, patient=True)
        module = evaluation_module(config.evaluator)
        task = pulled_task(session) if joined else session.task
        evaluator = module.open_evaluator(task, workspace, session.facts, timed)
        with contextlib.closing(session.store):
            trials = work(session, evaluator, name, channel.order, timed)
            for count, ended in enumerate(trials, 1):
                channel.send("trial", ended)
                if count == config.recycle:
                    return True
    return False


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """A full disk in words, whatever met it."""
    try:
        yield
    except Exception as error:
        if full_disk(error):
            raise WorkspaceError(NO_SPACE) from error
        raise


def _end(
    session: Session, claimed: Claim, evaluator: Evaluator, order: Callable[[], str]
) -> Ended:
    number = claimed.trial.number
    try:
        if claimed.known is not None:
            return Ended(number, settle_duplicate(session, claimed.trial, claimed.known))
        with beating(session.store, claimed.trial._trial_id):
            outcome = _evaluate(session, claimed, evaluator, order)
            if claimed.trained is None:
                attach(session, claimed.trial)  # which may wait for the store
        end = hand_over if outcome.state == "trained" else settle
        return Ended(number, end(session, claimed, outcome), outcome.values, outcome.reason)
    except Stopped:
        raise
    except Exception as error:
        if ended_elsewhere(session, claimed.trial):
            return Ended(number, "lost", reason="it was taken for dead and put back")
        if full_disk(error):
            with contextlib.suppress(Exception):  # else the next start finds it
                requeue(session, number)
            raise
        if claimed.trained is not None and isinstance(error, (ArtifactError, ModelError)):
            reason = f"what was trained is lost: {error}"
            requeue_lost(session, number, reason)
            return Ended(number, "lost", reason=reason)
        if isinstance(error, StudyError):
            raise  # of the storage or the artifact store, not of the candidate
        # A bug in one candidate must not end a long search; many in a row do (see the supervisor).
        reason = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        state = settle_failure(session, claimed.trial, reason)
        return Ended(number, state, reason=reason, trace=traceback.format_exc())


def _evaluate(
    session: Session, claimed: Claim, evaluator: Evaluator, order: Callable[[], str]
) -> Outcome:
    config, climb = session.config, Climb(session, claimed.trial)

    def report(done: int, scores: dict[str, float]) -> bool:
        if order() == "stop":
            raise Stopped
        return climb.stops(done, scores)

    folder = trial_folder(session.workspace, config.study, claimed.trial.number)
    if claimed.trained is not None:
        restore(session, claimed.trial.number)
        return evaluator.time(claimed.trained, folder=folder, limits=config.limits)
    try:
        outcome = evaluator(
            claimed.candidate,
            seed=config.seed,
            folder=folder,
            limits=config.limits,
            report=report,
            rungs=climb.rungs,
        )
        return dataclasses.replace(outcome, reason=climb.reason or outcome.reason)
    except (Diverged, OutOfMemory, MemoryError) as error:
        return Outcome("pruned", reason=str(error) or "out of memory")
