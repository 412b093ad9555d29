from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest

from ado_nas.errors import StudyError
from studies.storage import open_store, storage_url, study_names


def urls(folder: Path) -> list[str]:
    return [f"sqlite:///{folder}/s.db", f"journal:///{folder}/s.log"]


@pytest.mark.parametrize("index", [0, 1])
def test_attributes_written_at_once_read_back_and_the_first_write_stays(
    tmp_path: Path, index: int
) -> None:
    store = open_store(urls(tmp_path)[index])
    study = optuna.create_study(storage=store.storage, study_name="a")
    trial = study.ask()
    trial.set_user_attr("first", 1)
    wanted = {"text": "é", "number": 0.1, "none": None, "list": [1, 2], "flag": True}
    store.write_attributes(trial._trial_id, {**wanted, "first": 2})
    store.write_attributes(trial._trial_id, {"text": "again"})
    study.tell(trial, 1.0)
    again = optuna.load_study(storage=open_store(store.url).storage, study_name="a")
    assert again.trials[0].user_attrs == {**wanted, "first": 1}
    assert study_names(store.url) == ["a"]


def test_sqlite_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    store = open_store(urls(tmp_path)[0])
    assert isinstance(store.storage, optuna.storages.RDBStorage)
    with store.storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


@pytest.mark.parametrize("index", [0, 1])
def test_lock_lets_one_in_at_a_time(tmp_path: Path, index: int) -> None:
    store, other = (open_store(urls(tmp_path)[index]) for _ in range(2))
    inside: list[int] = []

    def enter() -> None:
        with other.lock("a"):
            inside.append(2)

    with store.lock("a"):
        thread = threading.Thread(target=enter)
        thread.start()
        time.sleep(0.1)
        inside.append(1)
    thread.join()
    assert inside == [1, 2]


def test_journal_is_whole_after_a_write_that_was_cut_short(tmp_path: Path) -> None:
    store = open_store(urls(tmp_path)[1])
    study = optuna.create_study(storage=store.storage, study_name="a")
    study.ask()
    whole = (tmp_path / "s.log").read_bytes()
    with (tmp_path / "s.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"gone","tri')  # and then the disk was full
    assert len(study.get_trials()) == 1
    study.ask()
    again = optuna.load_study(storage=open_store(store.url).storage, study_name="a")
    assert [t.number for t in again.trials] == [0, 1]
    assert (tmp_path / "s.log").read_bytes().startswith(whole)


def test_journal_in_a_folder_below_is_written_after_its_holder_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    url = "journal:///below/s.log"
    store = open_store(url)
    study = optuna.create_study(storage=store.storage, study_name="a")
    hold = (
        "import os, signal, sys; from studies.storage import open_store;"
        f"store = open_store({url!r}); store.storage._backend._lock.acquire();"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", hold], env={**os.environ, **path}, check=False)
    assert killed.returncode == -signal.SIGKILL
    study.ask()
    assert study_names(url) == ["a"]


def test_study_names_are_none_and_nothing_is_made_when_the_file_is_missing(tmp_path: Path) -> None:
    for url in urls(tmp_path):
        assert study_names(url) == []
    assert list(tmp_path.iterdir()) == []


def test_storage_url_is_the_workspaces_database_when_none_is_given(tmp_path: Path) -> None:
    assert storage_url("", tmp_path) == f"sqlite:///{tmp_path}/studies.db"
    assert storage_url("postgresql://u@h/d", tmp_path) == "postgresql+psycopg://u@h/d"
    assert storage_url("postgres://u@h/d", tmp_path) == "postgresql+psycopg://u@h/d"
    assert storage_url("mysql+pymysql://u@h/d", tmp_path) == "mysql+pymysql://u@h/d"


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "nonsense://x/y",
        "sqlite:///:memory:",
        "sqlite:////no/such/folder/x.db",
        "journal:////no/such/folder/x.log",
        "oracle://u@h/d",
        "postgresql+psycopg://someone:secret@127.0.0.1:1/none",
    ],
)
def test_open_store_refuses_in_one_line_and_soon_when_the_url_is_bad(url: str) -> None:
    start = time.monotonic()
    with pytest.raises(StudyError) as caught:
        open_store(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - start < 15


def test_open_store_refuses_when_the_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("this is no database, but long enough to be looked at")
    with pytest.raises(StudyError, match=r"does not answer: .*not a database"):
        open_store(urls(tmp_path)[0])
