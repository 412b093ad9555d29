"""The study in MLflow: a mirror that can be rebuilt, never the truth."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ado_nas.measure import lock
from studies.folders import study_folder
from studies.identity import flat
from studies.record import StudyRecord, TrialRecord

_log = logging.getLogger(__name__)

STATUS = {"complete": "FINISHED", "duplicate": "FINISHED", "failed": "FAILED"}  # else KILLED
PARENT = "mlflow.parentRunId"
STUDY, TRIAL = "ado.study_id", "ado.trial"
BATCH = 100  # parameters or tags that MLflow takes in one call


def tracking_uri(workspace: Path) -> str:
    """Where MLflow finds the mirror: ``mlflow ui --backend-store-uri URI``."""
    return f"sqlite:///{workspace / 'mlflow.db'}"


@contextlib.contextmanager
def mirror(record: StudyRecord, workspace: Path) -> Iterator[Mirror | None]:
    """Open the mirror of a study, unless another process has it open.

    Args:
        record: of the study, as far as it is.
        workspace: absolute.

    Yields:
        The mirror; None where another process keeps it.
    """
    path = study_folder(workspace, record.name) / ".mirror.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("another process mirrors study %s", record.name)
            yield None
            return
        yield Mirror(record, workspace)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MLflow's own deprecated calls are none of the user's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Mirror:
    """A parent run for the study and a child run for each trial that has ended.

    Args:
        record: of the study; gives its name and id.
        workspace: absolute.
    """

    @_quiet()
    def __init__(self, record: StudyRecord, workspace: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient  # takes seconds, and only those who track need it

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
        with contextlib.closing(sqlite3.connect(workspace / "mlflow.db")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # kept by the file; writes half as slow
        self._client = MlflowClient(tracking_uri(workspace))
        self._study, self._id = record.name, record.id
        self._experiment = self._open_experiment(record, workspace)
        self._parent = self._open_parent(record)
        self._runs = self._children()

    @_quiet()
    def log(self, trials: Iterable[TrialRecord]) -> int:
        """Write the trials that have ended and are not there yet.

        Args:
            trials: any of the study's; those that still run are left out.

        Returns:
            How many were written.
        """
        written = 0
        for trial in trials:
            if trial.state != "running" and self.lacks(trial.number):
                with lock.shared():  # nobody is timed meanwhile
                    self._write(trial)
                written += 1
        return written

    def lacks(self, number: int) -> bool:
        """Whether the trial of that number is not there, or not whole."""
        return self._runs.get(number) != ""

    @_quiet()
    def summarize(self, record: StudyRecord) -> None:
        """Write what the study has come to into the parent run.

        Args:
            record: of the study.
        """
        states = {f"trials_{k}": float(v) for k, v in record.states.items()}
        figures = {**states, "hypervolume": record.hypervolume, "front": float(len(record.front))}
        best = {"ado.best_trial": str(record.best)} if record.best is not None else {}
        with lock.shared():
            self._batch(self._parent, figures, {}, {**best, **record.digests}, 0)
            self._client.set_terminated(self._parent, "FINISHED")

    def _open_experiment(self, record: StudyRecord, workspace: Path) -> str:
        name = f"ado-nas/{record.config.get('preset') or record.name}"
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        place = (workspace / "mlartifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=place))

    def _open_parent(self, record: StudyRecord) -> str:
        query = f"tags.`{STUDY}` = '{self._id}' and tags.`{TRIAL}` = 'study'"
        found = self._client.search_runs([self._experiment], query, max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {STUDY: self._id, TRIAL: "study", "ado.study": self._study}
        run = self._client.create_run(self._experiment, tags=tags, run_name=self._study)
        self._batch(run.info.run_id, {}, flat(record.config), {}, 0)
        return str(run.info.run_id)

    def _children(self) -> dict[int, str]:
        """By trial number: an empty text for a run that is whole, else the id of one to finish."""
        runs: dict[int, str] = {}
        token = None
        while True:
            query = f"tags.`{PARENT}` = '{self._parent}'"
            page = self._client.search_runs([self._experiment], query, page_token=token)
            for run in page:
                whole = run.info.status != "RUNNING"
                runs[int(run.data.tags[TRIAL])] = "" if whole else run.info.run_id
            token = page.token
            if not token:
                return runs

    def _write(self, trial: TrialRecord) -> None:
        began = _milliseconds(trial.started)
        ended = began + round(trial.seconds * 1000)
        figures = {**trial.values, **trial.attributes}
        figures |= {f"violation_{k}": v for k, v in trial.constraints.items()}
        texts = {k: str(v) for k, v in figures.items() if not _number(v)}
        tags = {**texts, "state": trial.state, "reason": trial.reason, "folder": trial.folder}
        numbers = {k: float(v) for k, v in figures.items() if _number(v)}
        run = self._runs.get(trial.number)
        if run is None:  # with its tags, for a call of their own costs a commit
            run, tags = self._create(trial, began, tags), {}
        self._batch(run, numbers, trial.params, tags, ended)
        self._client.set_terminated(run, STATUS.get(trial.state, "KILLED"), ended)
        self._runs[trial.number] = ""

    def _create(self, trial: TrialRecord, began: int, texts: Mapping[str, str]) -> str:
        tags = {
            **{_key(k): v[:5000] for k, v in texts.items() if v},
            PARENT: self._parent,
            STUDY: self._id,
            TRIAL: str(trial.number),
            "ado.study": self._study,
            "ado.spec_hash": trial.spec_hash,
        }
        run = self._client.create_run(
            self._experiment, began, tags, run_name=f"{self._study} #{trial.number}"
        )
        return str(run.info.run_id)

    def _batch(
        self,
        run: str,
        figures: Mapping[str, float],
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        when: int,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(_key(k), v, when, 0) for k, v in figures.items()]
        named = [Param(_key(k), str(v)[:6000]) for k, v in params.items()]
        texts = [RunTag(_key(k), v[:5000]) for k, v in tags.items() if v]
        self._client.log_batch(run, metrics, named[:BATCH], texts[:BATCH])
        for at in range(BATCH, len(named), BATCH):
            self._client.log_batch(run, (), named[at : at + BATCH])


def _key(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w.\- :/]", "_", name)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000) if moment else 0
