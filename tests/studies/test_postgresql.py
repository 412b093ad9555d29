"""Studies in a real PostgreSQL server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from ado_nas.errors import StudyError
from ado_nas.progress import silent
from studies import claims, patience
from studies.claims import Claim, claim
from studies.config import SearchConfig
from studies.ledger import standing
from studies.requeue import requeue_stale
from studies.search import search
from studies.session import Session, open_session
from studies.storage import open_store, storage_url, study_names


def test_search_runs_and_resumes_on_postgresql(
    server: Any, make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    url = server.database()
    config = make_config(storage=url, trials=4, workers=2)
    record = search(config, tmp_path, silent)
    assert record.trained == 4
    assert search(config, tmp_path, silent) == record
    assert study_names(storage_url(url, tmp_path)) == ["fake"]
    assert not list(tmp_path.glob("*.db"))


def test_claims_never_exceed_the_total_on_postgresql(
    server: Any,
    make_session: Callable[..., Session],
    claim_at_once: Callable[[Session], list[Claim]],
) -> None:
    claimed = claim_at_once(make_session(storage=server.database(), trials=5))
    assert len({c.candidate.hash for c in claimed}) == len(claimed) == 5


def test_server_asks_whether_the_holder_of_a_lock_is_still_there(
    server: Any, tmp_path: Path
) -> None:
    store = open_store(storage_url(server.database(), tmp_path))
    asked = []

    def note(_c: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "pg_advisory_lock" in statement:
            cursor.execute("SHOW tcp_keepalives_idle")
            asked.append(cursor.fetchone()[0])

    assert store.locks is not None
    sa.event.listen(store.locks, "before_cursor_execute", note)
    with contextlib.closing(store), store.lock("a"):
        assert asked == ["20"]


def test_claim_is_made_again_when_the_server_goes_away_in_its_middle(
    server: Any, make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(storage=server.database(), trials=5)
    draw = claims.draw
    calls = []

    def interrupted(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            server.stop()
            threading.Timer(1.0, server.start).start()
        return draw(*given)

    monkeypatch.setattr(claims, "draw", interrupted)
    got = claim(session, "host/a")
    assert isinstance(got, Claim) and len(calls) == 2
    running = session.trials(TrialState.RUNNING)
    assert [t.number for t in running] == [got.trial.number]
    assert [t for t in session.trials() if t.user_attrs.get("requeued")]
    assert standing(session.trials()).running == 1


def test_claim_is_made_again_when_another_has_put_back_what_is_half_drawn(
    server: Any,
    make_session: Callable[..., Session],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = make_session(storage=server.database(), trials=5)
    other = open_session(session.config, tmp_path)
    draw = claims.draw
    put_back = []

    def interrupted(*given: Any) -> Any:
        if not put_back:
            server.stop()
            server.start()
            put_back.extend(requeue_stale(other))
        return draw(*given)

    monkeypatch.setattr(claims, "draw", interrupted)
    with contextlib.closing(other.store):
        got = claim(session, "host/a")
    assert isinstance(got, Claim) and put_back == [0]
    assert [t.number for t in session.trials(TrialState.RUNNING)] == [got.trial.number]
    assert session.trials()[0].state == TrialState.FAIL
    assert standing(session.trials()).running == 1


def test_worker_that_starts_while_the_server_is_away_waits_for_it(
    server: Any, make_session: Callable[..., Session], tmp_path: Path
) -> None:
    config = make_session(storage=server.database()).config
    server.stop()
    back = threading.Timer(1.0, server.start)
    try:
        with pytest.raises(StudyError, match="does not answer"):
            open_session(config, tmp_path)
    finally:
        back.start()
    with contextlib.closing(open_session(config, tmp_path, 1, patient=True).store):
        back.join()


def test_server_that_stays_away_is_said_in_one_line(
    server: Any, make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(storage=server.database())
    monkeypatch.setattr(patience, "OUTAGE_SECONDS", 0.6)
    server.stop()
    try:
        with pytest.raises(StudyError, match="has not answered for 1 s; start it"):
            session.trials()
    finally:
        server.start()
    assert session.trials() == []
