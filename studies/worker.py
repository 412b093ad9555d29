"""The loop of one worker: claim a candidate, evaluate it, end its trial, until all is done."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ado_nas.errors import Diverged
from objectives.scores import Evaluator, Outcome
from studies.claims import Claim, claim
from studies.config import SearchConfig
from studies.evaluation import evaluation_module
from studies.folders import trial_folder
from studies.liveness import alive
from studies.processes import Channel
from studies.requeue import requeue
from studies.session import Session, open_session
from studies.settlement import settle, settle_duplicate, settle_failure

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
    session: Session, evaluator: Evaluator, worker: str, order: Callable[[], str]
) -> Iterator[Ended]:
    """Evaluate candidates until the study wants no more.

    Args:
        session: of this process.
        evaluator: opened on the session's task.
        worker: this worker's name.
        order: the supervisor's last order; empty is carry on.

    Yields:
        Each trial as it has ended.
    """
    while not order():
        claimed = claim(session, worker)
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


def run_worker(channel: Channel, config: SearchConfig, workspace: Path, index: int) -> None:
    """Be a worker process.

    Args:
        channel: to the supervisor; gets ``("worker", name)`` and ``("trial", Ended)``.
        config: of the search.
        workspace: absolute.
        index: number of the worker.
    """
    with alive() as name:
        channel.send("worker", name)
        session = open_session(config, workspace, index)
        module = evaluation_module(config.evaluator)
        evaluator = module.open_evaluator(session.task, workspace)
        with contextlib.closing(session.store):
            for ended in work(session, evaluator, name, channel.order):
                channel.send("trial", ended)


def _end(
    session: Session, claimed: Claim, evaluator: Evaluator, order: Callable[[], str]
) -> Ended:
    number = claimed.trial.number
    if claimed.known is not None:
        return Ended(number, settle_duplicate(session, claimed.trial, claimed.known))
    try:
        outcome = _evaluate(session, claimed, evaluator, order)
        state = settle(session, claimed, outcome)
        return Ended(number, state, outcome.values, outcome.reason)
    except Stopped:
        raise
    except Exception as error:
        # A bug in one candidate must not end a long search; many in a row do (see the supervisor).
        reason = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        state = settle_failure(session, claimed.trial, reason)
        return Ended(number, state, reason=reason, trace=traceback.format_exc())


def _evaluate(
    session: Session, claimed: Claim, evaluator: Evaluator, order: Callable[[], str]
) -> Outcome:
    config = session.config

    def report(rung: int, scores: dict[str, float]) -> bool:
        if order() == "stop":
            raise Stopped
        return False

    folder = trial_folder(session.workspace, config.study, claimed.trial.number)
    try:
        return evaluator(
            claimed.candidate, seed=config.seed, folder=folder, limits=config.limits, report=report
        )
    except (Diverged, MemoryError) as error:
        return Outcome("pruned", reason=str(error) or "out of memory")
