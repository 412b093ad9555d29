"""The one workspace that a study is searched from; all others join it with workers."""

from __future__ import annotations

import fcntl
import secrets
import socket
from pathlib import Path

from ado_nas.errors import StudyError
from studies.folders import study_folder
from studies.session import Session

HOME = "home"  # the study's attribute: the workspace's token, and where it lies for people
TOKEN = "workspace.id"
OWNER = "study.id"  # in a study's folder


def settle_in(session: Session) -> None:
    """Make this the workspace of a study that has none, or refuse a second one.

    A search measures models that lie in its workspace and trains finalists there: two workspaces
    would each hold a part. A workspace that was moved keeps its token, and is the same.

    Args:
        session: of a search.

    Raises:
        StudyError: the study is searched from another workspace; says which, and how to join. Or
            this one's folder is of another study of that name.
    """
    name, workspace = session.config.study, session.workspace
    here = {"token": token(workspace), "place": f"{socket.gethostname()}:{workspace}"}
    with session.store.lock(name):
        home = session.study.user_attrs.get(HOME, here)
        if home["token"] == here["token"]:
            own_folder(session)
            if session.study.user_attrs.get(HOME) != here:
                session.study.set_user_attr(HOME, here)
            return
    raise StudyError(
        f"study {name!r} is searched from another workspace, {home['place']}; join it from here "
        f"with: worker {name}, or start another with --study"
    )


def own_folder(session: Session) -> None:
    """Keep a study's folder to it: the trials of two would have the same numbers.

    Args:
        session: of a search, or of workers that join it.

    Raises:
        StudyError: another study of that name, of another storage or deleted since, left its
            trials in this workspace.
    """
    name, own = session.config.study, str(session.study.user_attrs.get("id", ""))
    folder = study_folder(session.workspace, name)
    folder.mkdir(parents=True, exist_ok=True)
    if _written(folder / OWNER, own) == own:
        return
    if (folder / "trials").exists():
        raise StudyError(
            f"{folder} holds the trials of another study named {name!r}, of another storage or "
            "deleted since; move it away, or give another --workspace"
        )
    (folder / OWNER).write_text(f"{own}\n", encoding="utf-8")


def token(workspace: Path) -> str:
    """What tells a workspace apart, in a file of it; written by the first who asks."""
    return _written(workspace / TOKEN, secrets.token_hex(8))


def _written(path: Path, text: str) -> str:
    """The line in a file: the text, where nobody wrote another one before."""
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        found = file.read().strip()
        if not found:
            file.write(f"{text}\n")
        return found or text
