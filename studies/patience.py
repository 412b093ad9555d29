"""Storages that outlast an outage: a call waits until the server answers again."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from optuna.storages import BaseStorage

from ado_nas.errors import StudyError

OUTAGE_SECONDS = 300.0  # that a server may be away
RETRY_SECONDS = 0.5
# What Optuna's cache calls of a database beside the public interface.
_INNER = (
    *("_create_new_trial", "_set_trial_param", "_get_trials"),
    "get_trial_id_from_study_id_trial_number",
)

T = TypeVar("T")
Storage = TypeVar("Storage", bound=BaseStorage)


def patient(kind: type[Storage]) -> type[Storage]:
    """A class of storages whose calls wait while the server is away.

    A call may have been carried out when its answer was lost. Carried out again, a write of an
    attribute does the same; a trial started twice has no owner and is put back; a trial ended
    twice raises, and whoever ended it looks.

    Args:
        kind: of storage.

    Returns:
        A subclass.
    """
    names = [*BaseStorage.__abstractmethods__, *(n for n in _INNER if hasattr(kind, n))]
    calls = {name: _waiting(getattr(kind, name)) for name in names}
    return cast(type[Storage], type(f"Patient{kind.__name__}", (kind,), calls))


def through_outages(
    call: Callable[[], T],
    away: Callable[[BaseException], bool] | None = None,
    what: str = "the storage",
) -> T:
    """Call until the server answers.

    Args:
        call: can be made again.
        away: whether an error says that it does not; `outage` if left out.
        what: does not answer, in words.

    Returns:
        What it returns.

    Raises:
        StudyError: the server was away for too long, or is a proxy whose storage failed.
    """
    away = away or outage
    until = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return call()
        except Exception as error:
            if not away(error):
                if _code(error) == "UNKNOWN":  # a proxy's server, whose own storage raised
                    told = str(getattr(error, "details", str)() or "it says not why").splitlines()
                    raise StudyError(f"{what}, behind its proxy, failed: {told[0]}") from error
                raise
            if time.monotonic() > until:
                raise StudyError(
                    f"{what} has not answered for {OUTAGE_SECONDS:.0f} s; start it, and the "
                    "same command goes on from here"
                ) from error
        time.sleep(RETRY_SECONDS)


def outage(error: BaseException | None) -> bool:
    """Whether an error says that the server is away, or a file locked, and not that it refuses."""
    while error is not None:
        if isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)):
            sqlite = "sqlite3" in type(error.orig).__module__
            return not sqlite or "locked" in str(error.orig)
        if isinstance(error, ConnectionError):
            return True
        if _code(error) == "UNAVAILABLE":
            return True
        error = error.__cause__ or error.__context__
    return False


def _code(error: BaseException) -> str:
    """The status of an error of gRPC, which need not be installed; else empty."""
    code = getattr(error, "code", None)
    return str(getattr(code(), "name", "")) if callable(code) else ""


def _waiting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: BaseStorage, *args: Any, **keywords: Any) -> Any:
        return through_outages(lambda: method(self, *args, **keywords))

    return call
