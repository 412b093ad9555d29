"""A study as a dashboard reads it, again and again while it grows, and what it leaves there."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage

from studies.history import study_record, trial_record
from studies.record import StudyRecord, TrialRecord
from studies.storage import Store


class View:
    """One study of an open storage; what has ended is read once."""

    def __init__(self, store: Store, identity: int) -> None:
        self._store = store
        self._identity = identity
        name = store.storage.get_study_name_from_id(identity)
        sampler = optuna.samplers.RandomSampler()
        self._study = optuna.load_study(study_name=name, storage=store.storage, sampler=sampler)
        self._lock = threading.Lock()
        self._read: tuple[int, dict[str, Any]] | None = None
        self._record: StudyRecord | None = None

    def record(self) -> StudyRecord:
        """The study as it stands; made anew where something has ended since the last call.

        The folders in it are relative to the workspace.
        """
        with self._lock:
            ended = sum(t.state.is_finished() for t in self._study.get_trials(deepcopy=False))
            now = ended, self._study.user_attrs
            if self._record is None or now != self._read:
                self._record, self._read = study_record(self._study, Path()), now
            return self._record

    def last_record(self) -> StudyRecord:
        """What `record` last returned, however old."""
        return self._record or self.record()

    def trials(self, numbers: Iterable[int]) -> dict[int, TrialRecord]:
        """Trials as they stand, by number."""
        frozen = self._study.get_trials(deepcopy=False)
        return {n: trial_record(frozen[n], Path()) for n in numbers}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other dashboards from writing; searches go on."""
        with self._store.lock(f"{self._study.study_name}.dashboard"):
            yield

    def attributes(self) -> dict[str, Any]:
        """The system attributes of the study, where dashboards keep notes and figures."""
        return self._store.storage.get_study_system_attrs(self._identity)

    def write(self, attributes: Mapping[str, Any]) -> None:
        """Set system attributes: in a database all at once, so that nobody reads half a figure.

        Args:
            attributes: JSON values by name.
        """
        storage = self._store.storage
        if not isinstance(storage, RDBStorage):
            for key, value in attributes.items():
                storage.set_study_system_attr(self._identity, key, value)
            return
        with storage.engine.begin() as connection:
            _upsert(connection, self._identity, attributes)


def _upsert(connection: sa.Connection, study: int, attributes: Mapping[str, Any]) -> None:
    columns: list[sa.ColumnClause[Any]] = [sa.column(n) for n in ("study_id", "key", "value_json")]
    table = sa.table("study_system_attributes", *columns)
    here = table.c.study_id == study
    known = set(connection.scalars(sa.select(table.c.key).where(here)))
    for key, value in attributes.items():
        row = {"value_json": json.dumps(value)}
        if key in known:
            connection.execute(sa.update(table).where(here, table.c.key == key).values(row))
        else:
            connection.execute(sa.insert(table).values(study_id=study, key=key, **row))
