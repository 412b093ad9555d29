"""The main job: from a config to a study whose best members were measured twice."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tomli_w

from ado_nas.errors import NegativeVerdict
from ado_nas.files import replacing
from ado_nas.progress import Progress
from ado_nas.specs import to_dict
from objectives.constraints import reason
from search_spaces.candidate import cheapest, count
from search_spaces.space import anchors
from studies.carryover import carry_over, check_source
from studies.collection import collect, restore
from studies.config import SearchConfig, check
from studies.evaluation import run_plan, run_preparation, run_remeasurement, run_survey
from studies.folders import open_workspace, study_folder
from studies.history import study_record, trial_record
from studies.home import settle_in
from studies.ledger import standing
from studies.parts import mend, publish
from studies.processes import call
from studies.record import StudyRecord, TrialRecord
from studies.requeue import requeue_stale
from studies.session import Session, bind, open_session
from studies.supervisor import supervise
from studies.tracking import Mirror, mirror
from studies.trainers import retrain, unfinished

_log = logging.getLogger(__name__)


def plan(config: SearchConfig) -> dict[str, Any]:
    """What a search would do, without doing it.

    Args:
        config: checked.

    Returns:
        The resolved ``config``, the ``dimensions`` with their choices, the ``anchors``, how many
        ``candidates`` there are, whether that count is ``exact``, and the ``trials``.
    """
    unet = config.task.teacher.unet
    size, exact = count(config.space, unet, config.distillation)
    return {
        "config": to_dict(config),
        "dimensions": [
            {"name": d.name, "choices": list(d.choices)} for d in config.space.dimensions
        ],
        "anchors": anchors(config.space),
        "candidates": size,
        "exact": exact,
        "trials": config.trials,
    }


def search(
    config: SearchConfig,
    workspace: Path,
    progress: Progress,
    report: Callable[[StudyRecord], object] | None = None,
) -> StudyRecord:
    """Prepare, search, measure the front again and report; or resume where that was left.

    Args:
        config: resolved.
        workspace: its folder; made where it is missing.
        progress: gets the stages as they go.
        report: called with the whole record before this returns.

    Returns:
        The study.

    Raises:
        AdoNasError: a setting cannot be used, or the storage or study refuses.
        NegativeVerdict: no candidate met the limits; names the closest.
        KeyboardInterrupt: the user stopped it; the same call resumes.
    """
    check(config)
    workspace = open_workspace(workspace)
    with contextlib.ExitStack() as stack:
        check_source(config, workspace)
        session = open_session(config, workspace)
        stack.callback(session.store.close)
        settle_in(session)
        _keep_config(session)
        requeue_stale(session)
        mend(session)
        tracker = Tracker(session, stack)
        if _done(session):
            _refuse_device(session, progress)
        else:
            _prepare(session, progress, tracker.open)
            with _timed(session, "search"):
                carry_over(session, progress)
                _enqueue_anchors(session)
                supervise(session, progress, lambda: _catch_up(session, tracker))
        collect(session)  # joined workers may have ended the study while nobody searched
        _remeasure(session, progress)
        if config.finalists:
            with _timed(session, "finalists"):
                retrain(session, progress)
        if report is not None:
            with _timed(session, "report"):
                report(study_record(session.study, workspace))
        record = study_record(session.study, workspace)
        tracker.finish(record)
    _require_feasible(record)
    return record


class Tracker:
    """The mirror as a search uses it: its failure is a warning, for it can be rebuilt."""

    def __init__(self, session: Session, stack: contextlib.ExitStack) -> None:
        self._session = session
        self._stack = stack
        self._mirror: Mirror | None = None
        self._wanted = session.config.track

    def open(self) -> None:
        """Open the mirror, which takes seconds the first time, unless another search has it."""
        if self._wanted and self._mirror is None:
            record = study_record(self._session.study, self._session.workspace)
            with self._guarded():
                opened = mirror(record, self._session.workspace)
                self._mirror = self._stack.enter_context(opened)

    def catch_up(self) -> None:
        """Write the trials that have ended."""
        if self._mirror is not None:
            with self._guarded():
                self._mirror.log(fresh_trials(self._session, self._mirror))

    def finish(self, record: StudyRecord) -> None:
        """Write what is missing and the summary; another search may have let go of it."""
        self.open()
        if self._mirror is not None:
            with self._guarded():
                self._mirror.log(record.trials)
                self._mirror.summarize(record)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            _log.warning("MLflow was not written (%s); the study itself is whole", error)


def _catch_up(session: Session, tracker: Tracker) -> None:
    collect(session)
    tracker.catch_up()


def fresh_trials(session: Session, opened: Mirror) -> list[TrialRecord]:
    """The trials that the mirror has not; cheap, however long the study is."""
    trials = (t for t in session.trials() if t.state.is_finished() and opened.lacks(t.number))
    return [trial_record(t, session.workspace) for t in trials]


def _done(session: Session) -> bool:
    """Whether the study has all it is to have, so that nothing needs to be prepared."""
    config = session.config
    now = standing(session.trials())
    enough = now.done(config.trials, config.patience) and not now.running
    return enough and "facts" in session.study.user_attrs


def _prepare(session: Session, progress: Progress, meanwhile: Callable[[], None]) -> None:
    config = session.config
    if config.task.memory_budget_mb:
        least = cheapest(config.space, config.task.teacher.unet, config.distillation)
        call(run_plan, least, config.task.memory_budget_mb, progress=progress)
    facts = call(
        run_preparation,
        config.evaluator,
        config.task,
        session.workspace,
        progress=progress,
        meanwhile=meanwhile,
    )
    parts = facts.pop("parts", {})
    bind(session, facts)
    publish(session, parts)


def _refuse_device(session: Session, progress: Progress) -> None:
    """Refuse another device where something is left to be measured; see `bind`."""
    record = study_record(session.study, session.workspace)
    if _unmeasured(record) or unfinished(session):
        found = call(run_survey, session.config.evaluator, progress=progress)
        bind(session, {**session.facts, "environment": found})


def _enqueue_anchors(session: Session) -> None:
    """Before any worker starts, and all of them again on resume: what exists is skipped."""
    with session.store.lock(session.config.study):  # two searches would both find none
        for params in anchors(session.space):
            session.study.enqueue_trial(params, user_attrs={"anchor": True}, skip_if_exists=True)


def _remeasure(session: Session, progress: Progress) -> None:
    """Measure front members that were not yet; what the search found may have been luck."""
    record = study_record(session.study, session.workspace)
    fresh = _unmeasured(record)
    if not fresh:
        return
    for trial in fresh:
        restore(session, trial.number)
    with _timed(session, "remeasure"):
        found = call(
            run_remeasurement,
            session.config.evaluator,
            session.task,
            session.workspace,
            [Path(t.folder) for t in fresh],
            session.facts,
            progress=progress,
        )
    entries = {str(t.number): entry for t, entry in zip(fresh, found, strict=True)}
    session.keep("remeasured", lambda known: {**(known or {}), **entries})


def _unmeasured(record: StudyRecord) -> list[TrialRecord]:
    return [record.trial(n) for n in record.front if n not in record.remeasured]


@contextlib.contextmanager
def _timed(session: Session, stage: str) -> Iterator[None]:
    """Add the seconds of this block to the study's, over all its runs."""
    start = time.monotonic()
    try:
        yield
    finally:
        took = time.monotonic() - start
        session.keep("seconds", lambda known: _added(known or {}, stage, took))


def _added(seconds: dict[str, float], stage: str, took: float) -> dict[str, float]:
    return {**seconds, stage: round(seconds.get(stage, 0.0) + took, 3)}


def _keep_config(session: Session) -> None:
    values = to_dict(session.config)
    session.study.set_user_attr("config", values)
    path = study_folder(session.workspace, session.config.study) / "config.toml"
    with replacing(path) as partial:
        partial.write_text(tomli_w.dumps(_without_none(values)), encoding="utf-8")


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is not limited is left out."""
    return {
        k: _without_none(v) if isinstance(v, dict) else v
        for k, v in values.items()
        if v is not None
    }


def _require_feasible(record: StudyRecord) -> None:
    """Say no, with the closest candidate, where nothing meets the limits.

    Raises:
        NegativeVerdict: no feasible complete trial.
    """
    tried = [t for t in record.trials if t.state in ("complete", "pruned", "infeasible")]
    if record.front or not tried:
        return
    closest = min(tried, key=_shortfall)
    over = {k: v for k, v in closest.constraints.items() if v > 0}
    made = " ".join(f"{k}={v}" for k, v in closest.params.items())
    # No limit stops a training, but what the reason says.
    told = f": {closest.reason}"
    verdict = told if over.keys() <= {"training"} else f", has {reason(over)}; loosen that limit"
    raise NegativeVerdict(
        f"none of {len(tried)} candidates meets the limits; the closest, trial {closest.number} "
        f"({made}){verdict}"
    )


def _shortfall(trial: TrialRecord) -> tuple[bool, float, int]:
    """By what is missed; one that misses nothing was stopped before that could be told."""
    missed = sum(max(0.0, v) for v in trial.constraints.values())
    return missed == 0, missed, trial.number
