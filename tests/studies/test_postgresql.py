"""Studies in a real PostgreSQL server, started in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ado_nas.progress import silent
from studies.claims import Claim, claim
from studies.config import SearchConfig
from studies.search import search
from studies.session import Session, open_session
from studies.storage import storage_url, study_names


def binaries() -> Path | None:
    """Where `initdb` lies: on the path, or where Debian and Homebrew put it."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    for pattern in ("usr/lib/postgresql/*/bin", "opt/homebrew/opt/postgresql*/bin"):
        places += sorted(Path("/").glob(pattern), reverse=True)
    return next((p for p in places if (p / "pg_ctl").exists()), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("psycopg", reason="extra postgresql is not installed")
    place = binaries()
    if place is None:
        pytest.skip("no PostgreSQL server is installed")
    if os.getuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and runuser is missing")
    before = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="ado-pg-"))
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir()
    if before:
        shutil.chown(data, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            [*before, *map(str, command)], cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run(place / "initdb", "-D", data, "-U", "ado", "-A", "trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {data}"
        run(place / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start")
        try:
            yield f"postgresql://ado@127.0.0.1:{port}/postgres"
        finally:
            run(place / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def test_search_runs_and_resumes_on_postgresql(
    server: str, make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    config = make_config(storage=server, trials=4, workers=2)
    record = search(config, tmp_path, silent)
    assert record.trained == 4
    assert search(config, tmp_path, silent) == record
    assert study_names(storage_url(server, tmp_path)) == ["fake"]
    assert not list(tmp_path.glob("*.db"))


def test_claims_never_exceed_the_total_on_postgresql(
    server: str, make_session: Callable[..., Session], tmp_path: Path
) -> None:
    session = make_session(storage=server, study="claims", trials=5)
    claimed: list[Claim] = []

    def take(index: int) -> None:
        own = open_session(session.config, tmp_path, index)
        with contextlib.closing(own.store):
            for _ in range(3):
                if isinstance(got := claim(own, f"host/{index}"), Claim):
                    claimed.append(got)

    threads = [threading.Thread(target=take, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({c.candidate.hash for c in claimed}) == len(claimed) == 5
