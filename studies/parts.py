"""What a worker of another machine needs of a study: data, teacher, trajectories, features."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ado_nas.errors import ArtifactError, StudyError
from ado_nas.specs import TaskSpec, digest
from studies.artifacts import Folder, fetch, keep, reaching
from studies.collection import sound
from studies.session import Session

PARTS, PLACE = "parts", "artifacts"  # attributes of the study
SECTIONS = {
    "data": "data",
    "teacher": "teachers",
    "features": "features",
    "trajectories": "trajectories",
    "supernet": "supernets",
}
"""Where each part lies in the cache of a workspace, by the first word of its name."""
_MODELS = ("teacher", "supernet")
_WORKING = ("checkpoint.safetensors",)

_log = logging.getLogger(__name__)


def publish(session: Session, parts: Mapping[str, str]) -> None:
    """Put what the preparation made in the study's artifact store, by content, once.

    Args:
        session: of the study's own machine.
        parts: a folder by name of `SECTIONS`.
    """
    store, place = session.artifacts, _address(session)
    if isinstance(store, Folder) and session.study.user_attrs.get(PLACE) != place:
        reaching(lambda: store.place.mkdir(parents=True, exist_ok=True))
    listed = {name: _kept(session, Path(folder)) for name, folder in parts.items()}
    found = {PARTS: listed, PLACE: place}
    for name, value in found.items():
        if session.study.user_attrs.get(name) != value:
            session.study.set_user_attr(name, value)


def mend(session: Session) -> None:
    """Fetch what is damaged of the models in this workspace's cache, which take long to train.

    A workspace without a cache takes the place of one that was lost, and gets all parts. What the
    artifact store lacks, too, is made again by the preparation.

    Args:
        session: of the study's own machine.
    """
    lost = not (session.workspace / "cache").is_dir()
    for name, part in session.study.user_attrs.get(PARTS, {}).items():
        place = session.workspace / "cache" / SECTIONS[name.split()[0]] / part["folder"]
        if not lost and (name not in _MODELS or not place.is_dir()):
            continue
        for file, wanted in part["files"].items():
            target = place / Path(file).name
            if not lost and sound(target):
                continue
            try:
                fetch(session.artifacts, wanted, target, wanted)
            except ArtifactError as error:
                _log.warning("the %s of this workspace is damaged, and %s", name, error)


def pull(session: Session) -> None:
    """Get all parts of a study into the cache of this workspace, each checked by its hash.

    Args:
        session: of a worker that joins.

    Raises:
        StudyError: the study has none yet, or the store lacks one or has it damaged.
    """
    parts, store = require_parts(session), session.artifacts
    if isinstance(store, Folder) and not store.place.is_dir():
        raise StudyError(
            f"the study's artifacts lie at {store.place}, which is not on this machine; give the "
            "place it is mounted at with --artifacts, or start search with --artifacts s3://BUCKET"
        )
    for name, part in parts.items():
        place = _place(session.workspace, name, part)
        for file, wanted in part["files"].items():
            fetch(session.artifacts, wanted, place / Path(file).name, wanted)


def pulled_task(session: Session) -> TaskSpec:
    """The task with the data and the teacher that `pull` has put in this workspace."""
    parts, task = require_parts(session), session.task
    places = {name: str(_place(session.workspace, name, part)) for name, part in parts.items()}
    if "data" in places:
        task = dataclasses.replace(task, data=dataclasses.replace(task.data, name=places["data"]))
    return dataclasses.replace(task, teacher_folder=places.get("teacher", task.teacher_folder))


def require_parts(session: Session) -> dict[str, Any]:
    """What was published of a study.

    Args:
        session: of a worker that joins.

    Returns:
        By name of `SECTIONS`, the ``folder`` and the SHA-256 of each of its ``files``.

    Raises:
        StudyError: it is not prepared yet.
    """
    attributes = session.study.user_attrs
    if "facts" not in attributes or PARTS not in attributes:
        raise unprepared(session.config.study)
    parts: dict[str, Any] = attributes[PARTS]
    return parts


def unprepared(name: str) -> StudyError:
    """What is said where a study cannot be joined yet."""
    return StudyError(
        f"study {name!r} is not prepared yet; start it with search, and join when its trials run"
    )


def _address(session: Session) -> str:
    store = session.artifacts
    return str(store.place.resolve()) if isinstance(store, Folder) else session.config.artifacts


def _place(workspace: Path, name: str, part: Mapping[str, Any]) -> Path:
    # Those that are named by path may have any name elsewhere; the rest are cache keys.
    named = digest(part["files"]) if name in ("data", "teacher") else Path(part["folder"]).name
    return workspace / "cache" / SECTIONS[name.split()[0]] / named


def _kept(session: Session, folder: Path) -> dict[str, Any]:
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    names = {f.name: keep(session.artifacts, f) for f in files if f.name not in _WORKING}
    return {"folder": folder.name, "files": names}
