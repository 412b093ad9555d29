"""Disks that fill up, files that rot, workers thought dead, studies of older versions."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from ado_nas.errors import NO_SPACE, StudyError, WorkspaceError, full_disk
from ado_nas.progress import silent
from ado_nas.specs import from_dict
from studies import patience
from studies.claims import Claim, claim
from studies.config import SearchConfig
from studies.folders import trial_folder
from studies.history import study_record
from studies.ledger import standing
from studies.record import load
from studies.requeue import requeue_crashed, requeue_stale
from studies.search import search
from studies.session import Session, open_session
from studies.storage import open_store, storage_url
from studies.worker import Ended

Make = Callable[..., Session]
Run = Callable[..., list[Ended]]
SLOWER = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
OLD = Path(__file__).parents[1] / "fixtures" / "study_before_joining.sql"


def take(session: Session, worker: str) -> Claim:
    got = claim(session, worker)
    assert isinstance(got, Claim)
    return got


def test_trial_goes_back_and_nothing_counts_when_the_disk_is_full(
    make_session: Make, storage: str, run_worker_here: Run, faults: Callable[..., None]
) -> None:
    session = make_session(storage=storage, trials=3)
    faults(full=True)
    with pytest.raises(OSError) as caught:
        run_worker_here(session)
    assert full_disk(caught.value)
    assert standing(session.trials()).failed == 0
    faults()
    assert [e.state for e in run_worker_here(session)] == ["complete"] * 3
    done = session.trials(TrialState.COMPLETE)
    assert done[0].user_attrs["retry_of"] == 0 and len(done) == 3


def test_outage_of_the_artifact_store_after_a_training_is_no_fault_of_the_candidate(
    make_session: Make, run_worker_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(trials=2)
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    whole, fails = shutil.copyfileobj, 2

    def flaky(*given: Any) -> None:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise OSError(errno.EHOSTUNREACH, "no route to host")
        whole(*given)

    monkeypatch.setattr(shutil, "copyfileobj", flaky)
    assert [e.state for e in run_worker_here(session)] == ["complete"] * 2
    monkeypatch.setattr(patience, "OUTAGE_SECONDS", 0.0)
    more = dataclasses.replace(session, config=dataclasses.replace(session.config, trials=3))
    fails = 1_000_000
    with pytest.raises(StudyError, match="the artifact store has not answered"):
        run_worker_here(more)
    fails = 0
    assert [t.number for t in session.trials(TrialState.RUNNING)] == [2]
    requeue_crashed(more, "host/w", "the artifact store was away")
    assert [e.state for e in run_worker_here(more)] == ["complete"]
    assert standing(session.trials()).failed == 0


@pytest.mark.slow
def test_search_says_in_one_line_that_the_disk_is_full_and_goes_on_later(
    make_config: Callable[..., SearchConfig], tmp_path: Path, faults: Callable[..., None]
) -> None:
    faults(full=True)
    with pytest.raises(WorkspaceError, match=NO_SPACE):
        search(make_config(workers=2), tmp_path, silent)
    faults()
    record = search(make_config(workers=2), tmp_path, silent)
    assert record.trained == 6 and not [t for t in record.trials if t.state == "running"]


@pytest.mark.slow
def test_database_that_cannot_grow_loses_nothing(make_session: Make, run_worker_here: Run) -> None:
    session = make_session(trials=40)
    backend = session.store.storage
    assert isinstance(backend, RDBStorage)
    with backend.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit = f"PRAGMA max_page_count={pages + 6}"  # SQLite's own full disk
    listener = lambda connection, _: connection.execute(limit)  # noqa: E731
    backend.engine.dispose()
    sa.event.listen(backend.engine, "connect", listener)
    with pytest.raises((optuna.exceptions.OptunaError, sa.exc.SQLAlchemyError)) as caught:
        run_worker_here(session)
    assert full_disk(caught.value)
    before = Counter(t.state.name for t in session.trials())
    sa.event.remove(backend.engine, "connect", listener)
    session.store.close()
    again = open_session(session.config, session.workspace)
    assert Counter(t.state.name for t in again.trials()) == before
    requeue_crashed(again, "host/w", "died")
    requeue_stale(again)
    run_worker_here(again)
    assert standing(again.trials()).trained == 40
    hashes = [t.user_attrs["spec_hash"] for t in again.trials(TrialState.COMPLETE)]
    assert len(set(hashes)) == 40


def test_worker_thought_dead_drops_its_result(
    make_session: Make, storage: str, run_worker_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(storage=storage, trials=2)
    put_back: list[list[int]] = []

    def late(trial: Any, *given: Any) -> None:
        if not put_back:
            put_back.append(requeue_crashed(session, "host/w", "silent"))

    monkeypatch.setattr("studies.worker.beating", Late(late))
    ended = run_worker_here(session)
    assert put_back == [[0]]
    assert [(e.number, e.state) for e in ended] == [(0, "lost"), (1, "complete"), (2, "complete")]
    assert standing(session.trials()).trained == 2


class Late:
    """A heartbeat that calls something as its block ends."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *given: Any) -> Late:
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *given: Any) -> None:
        self._call(*given)


def test_retry_is_clean_of_the_constraints_of_the_dead(make_session: Make, storage: str) -> None:
    session = make_session(storage=storage)
    first = take(session, "host/a")
    first.trial.set_constraint("retention", 5.0)
    requeue_crashed(session, "host/a", "killed by signal 11")
    second = take(session, "host/b")
    assert second.candidate == first.candidate and second.trial.constraints == {}
    second.trial.set_constraint("retention", -0.5)
    requeue_crashed(session, "host/b", "killed by signal 11")
    (trial,) = session.trials(TrialState.PRUNED)
    assert trial.user_attrs["reason"] == "killed by signal 11, 2 times"
    assert trial.constraints == {"retention": -0.5, "training": 1.0}
    assert standing(session.trials()).trained == 1


@pytest.mark.parametrize("storage", SLOWER, indirect=True)
@pytest.mark.slow
def test_damaged_student_is_fetched_again_before_it_is_measured_again(
    make_config: Callable[..., SearchConfig], storage: str, tmp_path: Path
) -> None:
    config = make_config(storage=storage, trials=3, workers=1)
    before = search(config, tmp_path, silent)
    member = before.front[0]
    weights = trial_folder(tmp_path, "fake", member) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:3])
    session = open_session(config, tmp_path)
    session.study.set_user_attr("remeasured", {})
    session.store.close()
    after = search(config, tmp_path, silent)  # the fake one, too, compares with the card
    assert set(after.remeasured) == set(before.front) and after.trials == before.trials


def test_clock_that_is_set_back_makes_no_negative_seconds_and_no_other_order(
    make_session: Make, storage: str, run_worker_here: Run, tmp_path: Path
) -> None:
    session = make_session(storage=storage, trials=3)
    run_worker_here(session)
    before = study_record(session.study, tmp_path)
    execute(session.store.url, "UPDATE trials SET datetime_start = datetime_complete, "
            "datetime_complete = datetime_start WHERE number = 1")  # fmt: skip
    record = load(session.store.url, "fake", tmp_path)
    assert [t.seconds > 0 for t in record.trials] == [True, False, True]
    assert record.trials[1].seconds == 0.0
    assert (record.front, record.trained) == (before.front, 3)


@pytest.fixture
def old_study(storage: str, tmp_path: Path) -> str:
    """The URL of a study that an older version left."""
    url = storage_url(storage, tmp_path)
    file = tmp_path / ("studies.db" if url.startswith("sqlite") else "old.db")
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(OLD.read_text())
    if not url.startswith("sqlite"):
        with contextlib.closing(open_store(url)) as store:
            optuna.copy_study(
                from_study_name="fake", from_storage=f"sqlite:///{file}", to_storage=store.storage
            )
    return url


def execute(url: str, statement: str) -> None:
    """Change a storage behind everybody's back."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_study_of_an_older_version_is_read_and_resumed(
    old_study: str, run_worker_here: Run, tmp_path: Path
) -> None:
    old = load(old_study, "fake", tmp_path)
    assert old.trained == 4 and len(old.front) >= 1 and old.hypervolume > 0
    kept = from_dict(SearchConfig, old.config)  # a default may have changed since
    config = dataclasses.replace(kept, trials=6, storage=old_study)
    session = open_session(config, tmp_path)
    assert {t.user_attrs["state"] for t in session.trials()} == {"complete"}
    assert standing(session.trials()).trained == 4
    assert [e.state for e in run_worker_here(session)] == ["complete"] * 2
    assert load(old_study, "fake", tmp_path).trials[:4] == old.trials
    session.store.close()


def test_setting_that_came_later_does_not_refuse_an_older_study_at_its_default(
    make_session: Make, make_config: Callable[..., SearchConfig], storage: str, tmp_path: Path
) -> None:
    session = make_session(storage=storage)
    kept = dict(session.study.user_attrs["settings"])
    assert kept.pop("task.quality.noise_seed") is not None
    session.study.set_user_attr("settings", kept)
    open_session(session.config, tmp_path).store.close()
    changed = make_config(storage=storage, task={"quality": {"noise_seed": 123}})
    with pytest.raises(StudyError, match="noise_seed was"):
        open_session(changed, tmp_path)
    kept.pop("space.activation")
    session.study.set_user_attr("settings", kept)
    with pytest.raises(StudyError, match=r"space\.activation was None"):
        open_session(dataclasses.replace(session.config), tmp_path)


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_storage_of_an_older_optuna_says_how_to_upgrade(old_study: str, tmp_path: Path) -> None:
    execute(old_study, "UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    with pytest.raises(StudyError, match="optuna storage upgrade"):
        load(old_study, "fake", tmp_path)
