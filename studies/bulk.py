"""A database whose trials are read all at once: by Optuna's own way each takes milliseconds."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

_TRIALS = (
    "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials "
    "WHERE study_id = :study ORDER BY trial_id"
)
_PARTS = {
    "trial_values": "objective, p.value, p.value_type",
    "trial_params": "param_name, p.param_value, p.distribution_json",
    "trial_user_attributes": "key, p.value_json",
    "trial_system_attributes": "key, p.value_json",
    "trial_intermediate_values": "step",
}
_ORDER = {"trial_params": " ORDER BY p.param_id"}
_INFINITE = {"INF_POS": float("inf"), "INF_NEG": float("-inf")}

Rows = Mapping[int, list[tuple[Any, ...]]]


class BulkDatabase(RDBStorage):
    """Optuna's database, faster where a whole study is read."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        if states is None and trial_id_greater_than < 0:
            found = _read(self.engine, study_id)
            if found:
                return found
        return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)


def _read(engine: sa.Engine, study: int) -> list[FrozenTrial]:
    """All trials of a study; none where it has what only Optuna's way reads."""
    times = {"datetime_start": sa.DateTime, "datetime_complete": sa.DateTime}
    named: dict[str, Any] = {"study": study}
    with engine.connect() as connection:
        # The trials first: what is written meanwhile belongs to one that still runs here.
        trials = connection.execute(sa.text(_TRIALS).columns(**times), named).all()
        parts = {name: _grouped(connection, name, named) for name in _PARTS}
    if parts["trial_intermediate_values"]:
        return []
    return [_frozen(trial, parts) for trial in trials]


def _grouped(connection: sa.Connection, table: str, named: dict[str, Any]) -> Rows:
    query = (
        f"SELECT p.trial_id, p.{_PARTS[table]} FROM {table} p JOIN trials t "
        f"ON t.trial_id = p.trial_id WHERE t.study_id = :study{_ORDER.get(table, '')}"
    )
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for trial, *values in connection.execute(sa.text(query), named):
        found[trial].append(tuple(values))
    return dict(found)


def _frozen(trial: Any, parts: Mapping[str, Rows]) -> FrozenTrial:
    identity, number, state, started, ended = trial
    of = {name: rows.get(identity, []) for name, rows in parts.items()}
    values: list[Any] = [
        _INFINITE.get(kind, value) for _, value, kind in sorted(of["trial_values"])
    ]
    kinds = {name: _distribution(text) for name, _, text in of["trial_params"]}
    return FrozenTrial(
        number=number,
        state=TrialState[state],
        value=None,
        values=values or None,
        datetime_start=_local(started),
        datetime_complete=_local(ended),
        params={n: kinds[n].to_external_repr(value) for n, value, _ in of["trial_params"]},
        distributions=kinds,
        user_attrs=_loaded(of["trial_user_attributes"]),
        system_attrs=_loaded(of["trial_system_attributes"]),
        intermediate_values={},
        trial_id=identity,
    )


def _loaded(rows: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    return {key: json.loads(text) for key, text in rows}


@functools.lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _local(moment: datetime | None) -> datetime | None:
    """Optuna keeps UTC and shows the machine's own time."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
