from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.storages import InMemoryStorage

from ado_nas.errors import StudyError
from studies import patience
from studies.patience import outage, patient


class Away(Exception):
    """As gRPC says that nobody answers."""

    class Code:
        name = "UNAVAILABLE"

    def code(self) -> Code:
        return self.Code()


class Flaky(InMemoryStorage):
    """A storage that is away for its first calls."""

    away = 2

    def get_all_studies(self) -> Any:
        self.away -= 1
        if self.away >= 0:
            raise RuntimeError("wrapped") from Away()
        return super().get_all_studies()


def test_outage_knows_a_locked_file_from_a_refusal(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    engine = sa.create_engine(f"sqlite:///{tmp_path}/x.db", connect_args={"timeout": 0})
    said: dict[str, bool] = {}
    for name, locked in {"locked": True, "no such table": False}.items():
        with pytest.raises(sa.exc.OperationalError, match=name) as caught, engine.connect() as one:
            one.exec_driver_sql("SELECT * FROM absent")
        said[name] = outage(caught.value)
        if locked:
            holder.execute("ROLLBACK")
    holder.close()
    engine.dispose()
    assert said == {"locked": True, "no such table": False}
    assert not outage(ValueError("x")) and not outage(None)


def test_call_waits_until_the_storage_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    storage = patient(Flaky)()
    assert storage.get_all_studies() == []
    assert storage.away == -1


def test_call_gives_up_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(patience, "OUTAGE_SECONDS", 0.0)
    with pytest.raises(StudyError, match="has not answered for 0 s; start it"):
        patient(Flaky)().get_all_studies()
