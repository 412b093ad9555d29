"""Where studies are kept: SQLite, a journal file, PostgreSQL, MySQL or a gRPC proxy, by URL."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from ado_nas.errors import StudyError
from studies.bulk import BulkDatabase
from studies.patience import patient, through_outages

CONNECT_SECONDS = 5
# A machine that vanishes says no goodbye: both ends of PostgreSQL ask, and give up after 35 s.
KEEPALIVE = {"keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3}
USER_TIMEOUT = {"tcp_user_timeout": 35_000}  # ms
BUSY_SECONDS = 60
_JOURNAL = "journal:///"
_SQLITE = "sqlite:///"
_GRPC = "grpc://"
_Database = patient(BulkDatabase)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass
class Hold:
    """A study's lock. `lost`, known when it is given back: the server went away meanwhile."""

    lost: bool = False


@dataclass(frozen=True)
class Store:
    """An opened storage; `file` is where it lies if that is one file.

    `locks` makes the connections of a server's locks: those that wait for one must not use up the
    storage's own, which its holder needs.
    """

    url: str
    storage: BaseStorage
    file: Path | None
    locks: sa.Engine | None = None

    @contextlib.contextmanager
    def lock(self, study: str) -> Iterator[Hold]:
        """Hold the study for a moment, so that no other process of any machine claims a trial.

        The holder's death gives it back.
        """
        hold = Hold()
        if self.file is not None:
            with _file_lock(self.file.with_name(f"{self.file.name}.{study}.lock")):
                yield hold
        elif self.locks is not None:
            with _server_lock(self.locks, study, hold):
                yield hold
        else:
            from studies.proxy import proxy_lock  # gRPC is an extra

            with proxy_lock(self.url, study, hold):
                yield hold

    def leave(self) -> None:
        """Let go of what this thread, which ends, holds of the storage."""
        if isinstance(self.storage, RDBStorage):
            self.storage.remove_session()

    def close(self) -> None:
        """Let go of this thread's connections."""
        self.leave()
        if isinstance(self.storage, RDBStorage):
            self.storage.engine.dispose()

    def write_attributes(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Write the user attributes that a running trial does not have yet, at once if possible.

        Args:
            trial_id: of the storage.
            attributes: JSON values by name.
        """
        through_outages(lambda: self._write(trial_id, attributes))

    def _write(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        written = self.storage.get_trial_user_attrs(trial_id)
        fresh = {k: v for k, v in attributes.items() if k not in written}
        if not isinstance(self.storage, RDBStorage):
            for key, value in fresh.items():
                self.storage.set_trial_user_attr(trial_id, key, value)
            return
        # Optuna commits each attribute alone: 30 of them would cost more than all the rest.
        rows = [
            {"trial_id": trial_id, "key": k, "value_json": json.dumps(v)} for k, v in fresh.items()
        ]
        if rows:
            columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in rows[0]]
            table = sa.table("trial_user_attributes", *columns)
            with self.storage.engine.begin() as connection:
                connection.execute(sa.insert(table), rows)


def storage_url(storage: str, workspace: Path) -> str:
    """The URL of a study's storage.

    Args:
        storage: a URL, or empty for the workspace's own database.
        workspace: absolute.

    Returns:
        A URL that `open_store` takes.
    """
    if not storage:
        return f"{_SQLITE}{workspace / 'studies.db'}"
    # SQLAlchemy would look for psycopg2; the extra `postgresql` installs psycopg 3.
    scheme, colon, rest = storage.partition("://")
    names = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    return f"{names.get(scheme, scheme)}{colon}{rest}"


def open_store(url: str) -> Store:
    """Open a storage and make sure that it answers.

    Args:
        url: ``sqlite:///FILE``, ``journal:///FILE``, ``grpc://HOST:PORT`` or a database URL of
            SQLAlchemy.

    Returns:
        The storage, its tables made.

    Raises:
        StudyError: it cannot be reached or read; one line, without the password.
    """
    if "://" not in url:
        raise StudyError(
            f"storage {url!r} is no URL; give sqlite:///FILE, journal:///FILE or "
            "postgresql://USER@HOST/NAME"
        )
    try:
        if url.startswith(_JOURNAL):
            file = Path(url.removeprefix(_JOURNAL)).resolve()
            with file.open("ab"):
                pass
            backend = JournalFileBackend(str(file), _JournalLock(file))
            return Store(url, JournalStorage(backend), file)
        if url.startswith(_GRPC):
            from studies.proxy import open_proxy  # gRPC is an extra

            return Store(url, open_proxy(url), None)
        return _open_database(url)
    except (sa.exc.SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise _unreachable(url, error) from error
    except ModuleNotFoundError as error:
        extra = "; uv sync --extra postgresql" if error.name == "psycopg" else ""
        raise StudyError(f"storage {_shown(url)} needs {error.name}{extra}") from error
    except (ImportError, OSError, ValueError, RuntimeError, AssertionError) as error:
        raise _unreachable(url, error) from error


def stored_file(url: str) -> Path | None:
    """The file that a storage lies in; None of a server."""
    if url.startswith(_SQLITE):
        return Path(url.removeprefix(_SQLITE).partition("?")[0])
    return Path(url.removeprefix(_JOURNAL)) if url.startswith(_JOURNAL) else None


def study_names(url: str) -> list[str]:
    """The studies in a storage, sorted; none where its file does not exist yet.

    Raises:
        StudyError: it cannot be reached.
    """
    file = stored_file(url)
    if file is not None and not file.exists():
        return []
    with contextlib.closing(open_store(url)) as store:
        return sorted(optuna.get_all_study_names(storage=store.storage))


def _open_database(url: str) -> Store:
    parsed = sa.make_url(url)
    backend = parsed.get_backend_name()
    file = Path(parsed.database or "") if backend == "sqlite" else None
    if file is None:
        arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
        if backend == "postgresql":
            arguments |= {**KEEPALIVE, **USER_TIMEOUT}
        engine = {"connect_args": arguments, "pool_pre_ping": True}
        locks = sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments)
        database = _Database(url, engine_kwargs=engine)
        if backend == "postgresql":
            for one in (database.engine, locks):
                sa.event.listen(one, "connect", _ask_for_us)
            database.engine.dispose()
        return Store(url, database, None, locks)
    if not parsed.database or parsed.database == ":memory:":
        raise StudyError("storage in memory is lost between processes; give sqlite:///FILE")
    with _file_lock(file.with_name(f"{file.name}.lock")):
        storage = _Database(url, engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}})
        sa.event.listen(storage.engine, "connect", _relax)
        storage.engine.dispose()
        with storage.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    return Store(url, storage, file)


def _relax(connection: Any, _record: Any) -> None:
    """Outlives a killed process; only a power cut loses the last writes, and no more."""
    connection.execute("PRAGMA synchronous=NORMAL")


def _ask_for_us(connection: Any, _record: Any) -> None:
    """The server's end: else the locks of a machine that vanished would be held for hours."""
    named = {f"tcp_{name}": value for name, value in KEEPALIVE.items()} | USER_TIMEOUT
    with connection.cursor() as cursor:
        for name, value in named.items():
            cursor.execute(f"SET {name} = {value}")
    connection.commit()


def _unreachable(url: str, error: Exception) -> StudyError:
    cause = getattr(error, "orig", None) or error.__cause__ or error
    cause = getattr(cause, "orig", None) or cause
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return StudyError(f"storage {_shown(url)} does not answer: {lines[0]}; check --storage")


def _shown(url: str) -> str:
    """A URL without its password."""
    with contextlib.suppress(sa.exc.ArgumentError):
        return sa.make_url(url).render_as_string(hide_password=True)
    return url


class _JournalLock(BaseJournalFileLock):
    """A lock that its holder's death gives back, on a journal without a half-written end."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._file = journal.with_name(f"{journal.name}.writing")
        self._held = contextlib.ExitStack()

    def acquire(self) -> bool:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_file_lock(self._file))
            self._cut()
            self._held = stack.pop_all()
        return True

    def release(self) -> None:
        self._held.close()

    def _cut(self) -> None:
        """Take away what somebody left who died, or met a full disk, in the middle of a line."""
        with self._journal.open("r+b") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
            if file.read() not in (b"", b"\n"):
                file.truncate(self._journal.read_bytes().rfind(b"\n") + 1)


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _server_lock(engine: sa.Engine, study: str, hold: Hold) -> Iterator[None]:
    """An advisory lock of the database session, which ends with the connection."""
    key = {"key": int.from_bytes(hashlib.sha256(study.encode()).digest()[:7], "big")}
    if engine.dialect.name == "postgresql":
        take, give = "SELECT pg_advisory_lock(:key)", "SELECT pg_advisory_unlock(:key)"
    else:
        take, give = "SELECT GET_LOCK(:key, 600)", "SELECT RELEASE_LOCK(:key)"

    def acquire() -> sa.Connection:
        connection = engine.connect()
        try:
            while connection.execute(sa.text(take), key).scalar() == 0:
                pass  # MySQL waits no longer
        except BaseException:
            connection.close()
            raise
        return connection

    connection = through_outages(acquire)
    try:
        yield
    finally:
        try:
            connection.execute(sa.text(give), key)
        except sa.exc.DBAPIError:
            hold.lost = True
        with contextlib.suppress(sa.exc.DBAPIError):  # given back, it is of no use any more
            connection.close()
