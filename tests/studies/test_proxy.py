"""Optuna's gRPC proxy in front of a database, with the lock that its clients share."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from ado_nas.errors import ConfigError, StudyError
from studies.claims import Claim, claim
from studies.patience import outage
from studies.session import Session
from studies.storage import Store, open_store, storage_url, study_names

grpc = pytest.importorskip("grpc", reason="extra grpc is not installed")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    from studies.proxy import serve

    server = serve(open_store(f"sqlite:///{tmp_path}/behind.db"), port=0)
    yield f"grpc://127.0.0.1:{server.port}"
    server.stop(0).wait()


def test_study_goes_through_the_proxy_whole(
    url: str, make_session: Callable[..., Session], run_worker_here: Callable[..., list[object]]
) -> None:
    session = make_session(storage=url, trials=3)
    run_worker_here(session)
    assert study_names(url) == ["fake"]
    behind = open_store(f"sqlite:///{session.workspace}/behind.db")
    assert behind.storage.get_n_trials(1) == 3
    assert [t.user_attrs["state"] for t in session.trials()] == ["complete"] * 3


def test_claims_never_exceed_the_total_through_the_proxy(
    url: str,
    make_session: Callable[..., Session],
    claim_at_once: Callable[[Session], list[Claim]],
) -> None:
    claimed = claim_at_once(make_session(storage=url, trials=4))
    assert len({c.candidate.hash for c in claimed}) == len(claimed) == 4


def test_twenty_at_once_take_few_connections(server: Any, tmp_path: Path) -> None:
    from studies.proxy import serve

    behind = open_store(storage_url(server.database(), tmp_path))
    running = serve(behind, port=0)
    store = open_store(f"grpc://127.0.0.1:{running.port}")
    query = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def take(_: int) -> tuple[int, int]:
        with store.lock("a"):
            studies = store.storage.get_all_studies()
            with behind.storage.engine.connect() as connection:  # type: ignore[attr-defined]
                return len(studies), connection.execute(query).scalar_one()

    with contextlib.closing(behind), ThreadPoolExecutor(20) as pool:
        assert list(pool.map(take, range(20))) == [(0, 0)] * 20
        running.stop(0).wait()


def test_those_who_wait_for_a_lock_leave_the_storage_its_connections(
    server: Any, tmp_path: Path
) -> None:
    store = open_store(storage_url(server.database(), tmp_path))

    def take(_: int) -> int:
        with store.lock("a"):
            return len(store.storage.get_all_studies())

    with contextlib.closing(store), ThreadPoolExecutor(20) as pool:
        assert list(pool.map(take, range(20))) == [0] * 20


def test_lock_is_given_back_when_its_holder_dies(url: str) -> None:
    channel = grpc.insecure_channel(url.removeprefix("grpc://"))
    stream = channel.stream_stream("/ado.Lock/Hold")(iter([b"a"]))
    next(stream)
    inside = threading.Event()
    store: Store = open_store(url)

    def enter() -> None:
        with store.lock("a") as hold:
            inside.set()
        assert not hold.lost

    thread = threading.Thread(target=enter)
    thread.start()
    time.sleep(0.2)
    assert not inside.is_set()
    channel.close()
    thread.join(10)
    assert inside.is_set()


def test_lock_is_given_back_when_its_holder_vanishes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from studies import proxy

    soon = [(name, min(value, 500)) for name, value in proxy._KEEPALIVE]
    monkeypatch.setattr(proxy, "_KEEPALIVE", soon)
    often = [("grpc.http2.min_ping_interval_without_data_ms", 100)]
    monkeypatch.setattr(proxy, "_PINGED", often)
    running = proxy.serve(open_store(f"sqlite:///{tmp_path}/other.db"), port=0)
    hold = (
        "import sys, time; from studies.storage import open_store\n"
        "with open_store(sys.argv[1]).lock('a'): print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", hold, f"grpc://127.0.0.1:{running.port}"]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    inside = threading.Event()

    def enter() -> None:
        with open_store(command[-1]).lock("a"):
            inside.set()

    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **path}) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            holder.send_signal(signal.SIGSTOP)  # its system still answers, but nobody else there
            threading.Thread(target=enter, daemon=True).start()
            assert inside.wait(20)
        finally:
            holder.kill()
            running.stop(0).wait()


def test_failure_of_the_storage_behind_the_proxy_is_one_line(url: str, tmp_path: Path) -> None:
    store = open_store(url)
    study = optuna.create_study(storage=store.storage, study_name="a")
    study.ask()
    with contextlib.closing(sqlite3.connect(tmp_path / "behind.db")) as connection:
        connection.execute("DROP TABLE trial_user_attributes")
        connection.commit()
    with pytest.raises(StudyError, match="behind its proxy, failed: ") as caught:
        study._storage.set_trial_user_attr(1, "x", 1)
    assert "\n" not in str(caught.value)


def test_calls_outlast_a_proxy_that_is_started_again(
    make_session: Callable[..., Session], tmp_path: Path
) -> None:
    from studies.proxy import serve

    behind = open_store(f"sqlite:///{tmp_path}/behind.db")
    running = serve(behind, port=0)
    session = make_session(storage=f"grpc://127.0.0.1:{running.port}", trials=3)
    got = claim(session, "host/w")
    assert isinstance(got, Claim)
    running.stop(0).wait()
    again: list[Any] = []
    back = threading.Timer(1.0, lambda: again.append(serve(behind, port=running.port)))
    back.start()
    session.study.tell(got.trial.number, state=TrialState.FAIL)  # by number, which is asked for
    assert session.trials()[0].state == TrialState.FAIL
    back.join()
    again[0].stop(0).wait()


def test_proxy_that_is_away_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    from studies import proxy

    monkeypatch.setattr(proxy, "CONNECT_SECONDS", 0.2)
    with pytest.raises(StudyError, match="does not answer; start it with") as caught:
        open_store("grpc://127.0.0.1:1")
    assert outage(caught.value)


@pytest.mark.parametrize("bad", ["grpc://here", "grpc://127.0.0.1:port"])
def test_open_store_refuses_an_address_without_a_port(bad: str) -> None:
    with pytest.raises(StudyError, match="give grpc://HOST:PORT"):
        open_store(bad)


def test_open_store_says_how_to_start_a_proxy_when_none_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("studies.proxy.CONNECT_SECONDS", 0.2)
    with pytest.raises(StudyError, match=r"does not answer; start it with: python cli\.py proxy"):
        open_store("grpc://127.0.0.1:1")


def test_serve_refuses_a_journal(tmp_path: Path) -> None:
    from studies.proxy import serve

    with pytest.raises(ConfigError, match="a proxy wants a database"):
        serve(open_store(f"journal:///{tmp_path}/j.log"))
