"""Complete trials written into a study's database at once: by Optuna thousands take an hour."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.storages import RDBStorage

from studies.session import Session

START = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = 9.0  # that each trial took


@dataclass(frozen=True)
class Finished:
    """A complete trial: its objective values, the place of each choice, and what is told of it."""

    values: Sequence[float]
    choices: Mapping[str, int]  # by name of the dimension
    attributes: Mapping[str, Any]
    constraints: Mapping[str, float]


def fill(session: Session, trials: Iterable[Finished]) -> None:
    """Write trials into a study that has none, one after the other in time.

    Args:
        session: of an empty study, the only one of its SQLite database.
        trials: in order.

    Raises:
        ValueError: the study is not in an empty SQLite database.
    """
    store = session.store.storage
    if not isinstance(store, RDBStorage) or session.store.file is None or session.trials():
        raise ValueError(f"study {session.config.study!r} is not the first in a SQLite database")
    tables: dict[str, list[dict[str, Any]]] = {}
    for number, trial in enumerate(trials):
        for name, row in _rows(session, number, trial):
            tables.setdefault(name, []).append({"trial_id": number + 1, **row})
    with store.engine.begin() as connection:
        for name, rows in tables.items():
            made = sa.table(name, *(sa.column(c) for c in rows[0]))
            connection.execute(sa.insert(made), rows)


def _rows(session: Session, number: int, trial: Finished) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of Optuna's tables, each with the name of its table."""
    began = START + timedelta(seconds=(SECONDS + 1) * number)
    ended = began + timedelta(seconds=SECONDS)
    times = {"datetime_start": _told(began), "datetime_complete": _told(ended)}
    identity = session.study._study_id
    yield "trials", {"number": number, "study_id": identity, "state": "COMPLETE", **times}
    for place, value in enumerate(trial.values):
        yield "trial_values", {"objective": place, "value": value, "value_type": "FINITE"}
    for dimension in session.space.dimensions:
        told = {"param_name": dimension.name, "param_value": trial.choices[dimension.name]}
        kind = distribution_to_json(CategoricalDistribution(dimension.choices))
        yield "trial_params", {**told, "distribution_json": kind}
    for name, value in trial.attributes.items():
        yield "trial_user_attributes", {"key": name, "value_json": json.dumps(value)}
    for name, value in trial.constraints.items():
        told = {"key": f"constraints:{name}", "value_json": json.dumps(value)}
        yield "trial_system_attributes", told


def _told(moment: datetime) -> str:
    """A moment as SQLAlchemy writes it into SQLite: UTC without saying so."""
    return moment.replace(tzinfo=None).isoformat(" ", timespec="microseconds")
