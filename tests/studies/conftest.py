from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ado_nas.files import write_json
from ado_nas.progress import silent
from ado_nas.specs import from_dict
from objectives.scores import Limits
from studies.claims import Claim, claim
from studies.config import SearchConfig
from studies.evaluation import evaluation_module
from studies.session import Session, bind, open_session
from studies.worker import Ended, work

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(FAKES))  # spawned processes inherit the path
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # locks of their own: others may be timing
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def make_config() -> Callable[..., SearchConfig]:
    def make(**fields: Any) -> SearchConfig:
        base = SearchConfig(
            study="fake",
            preset="fake",
            evaluator="fake_evaluation",
            trials=6,
            finalists=0,
            track=False,
            limits=Limits(min_retention=0.0),
        )
        return from_dict(SearchConfig, fields, base)

    return make


@pytest.fixture
def make_session(
    make_config: Callable[..., SearchConfig], tmp_path: Path
) -> Iterator[Callable[..., Session]]:
    """An open and prepared study, in this process."""

    opened: list[Session] = []

    def make(**fields: Any) -> Session:
        config = make_config(**fields)
        session = open_session(config, tmp_path)
        module = evaluation_module("fake_evaluation")
        bind(session, module.prepare(config.task, tmp_path, silent))
        opened.append(session)
        return session

    yield make
    for session in opened:
        session.store.close()


@pytest.fixture
def run_worker_here() -> Callable[..., list[Ended]]:
    """The loop of a worker, in this process."""

    def run(session: Session, worker: str = "host/w", timed: bool = True) -> list[Ended]:
        module = importlib.import_module("fake_evaluation")
        evaluator = module.FakeEvaluator(session.workspace, timed)
        return list(work(session, evaluator, worker, lambda: "", timed))

    return run


@pytest.fixture
def claim_at_once(tmp_path: Path) -> Callable[[Session], list[Claim]]:
    """What four workers claim, each three times at the same time."""

    def run(session: Session) -> list[Claim]:
        def take(index: int) -> list[Claim | str]:
            own = open_session(session.config, tmp_path, index)
            with contextlib.closing(own.store):
                return [claim(own, f"host/{index}") for _ in range(3)]

        with ThreadPoolExecutor(4) as pool:
            found = [got for every in pool.map(take, range(4)) for got in every]
        claimed = [got for got in found if isinstance(got, Claim)]
        assert {got for got in found if not isinstance(got, Claim)} == {"wait"}
        return claimed

    return run


@pytest.fixture
def faults(tmp_path: Path) -> Callable[..., None]:
    def write(**wanted: Any) -> None:
        write_json(tmp_path / "fake.json", wanted)  # whole, whoever reads it meanwhile

    return write


class Server:
    """A PostgreSQL server of these tests alone, in a temporary folder."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._before = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="ado-pg-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._data = self.folder / "data"
        self._data.mkdir()
        if self._before:
            shutil.chown(self._data, "postgres", "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._run("initdb", "-U", "ado", "-A", "trust", "--no-sync")

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self._data}"
        self._run("pg_ctl", "-w", "-l", self._data / "log", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "stop")

    def database(self) -> str:
        """The URL of a new and empty database."""
        import psycopg

        name = f"t{secrets.token_hex(4)}"
        where = f"host=127.0.0.1 port={self._port} user=ado dbname=postgres"
        with contextlib.closing(psycopg.connect(where, autocommit=True)) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://ado@127.0.0.1:{self._port}/{name}"

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*self._before, str(self._place / program), "-D", str(self._data)]
        done = subprocess.run(
            [*command, *map(str, arguments)], cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _binaries() -> Path | None:
    """Where `initdb` lies: on the path, or where Debian and Homebrew put it."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    for pattern in ("usr/lib/postgresql/*/bin", "opt/homebrew/opt/postgresql*/bin"):
        places += sorted(Path("/").glob(pattern), reverse=True)
    return next((p for p in places if (p / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A running PostgreSQL server."""
    pytest.importorskip("psycopg", reason="extra postgresql is not installed")
    place = _binaries()
    if place is None:
        pytest.skip("no PostgreSQL server is installed")
    if os.getuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and runuser is missing")
    made = Server(place)
    try:
        made.start()
        yield made
        made.stop()
    finally:
        shutil.rmtree(made.folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty storage: of each kind that several workers share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/studies.db"
    url: str = request.getfixturevalue("server").database()
    return url
