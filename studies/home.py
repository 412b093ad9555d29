"""The one workspace that a study is searched from; all others join it with workers."""

from __future__ import annotations

import fcntl
import secrets
import socket
from pathlib import Path

from ado_nas.errors import StudyError
from studies.session import Session

HOME = "home"  # the study's attribute: the workspace's token, and where it lies for people
TOKEN = "workspace.id"


def settle_in(session: Session) -> None:
    """Make this the workspace of a study that has none, or refuse a second one.

    A search measures models that lie in its workspace and trains finalists there: two workspaces
    would each hold a part. A workspace that was moved keeps its token, and is the same.

    Args:
        session: of a search.

    Raises:
        StudyError: the study is searched from another workspace; says which, and how to join.
    """
    name, workspace = session.config.study, session.workspace
    here = {"token": token(workspace), "place": f"{socket.gethostname()}:{workspace}"}
    with session.store.lock(name):
        home = session.study.user_attrs.get(HOME, here)
        if home["token"] == here["token"]:
            if session.study.user_attrs.get(HOME) != here:
                session.study.set_user_attr(HOME, here)
            return
    raise StudyError(
        f"study {name!r} is searched from another workspace, {home['place']}; join it from here "
        f"with: worker {name}, or start another with --study"
    )


def token(workspace: Path) -> str:
    """What tells a workspace apart, in a file of it; written by the first who asks."""
    with (workspace / TOKEN).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        found = file.read().strip()
        if not found:
            found = secrets.token_hex(8)
            file.write(f"{found}\n")
        return found
