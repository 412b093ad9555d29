"""Where files of a study are kept for all its machines: a folder, or a bucket of S3's kind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO, Protocol

from optuna.artifacts import Boto3ArtifactStore, FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from ado_nas.errors import ConfigError, StudyError
from ado_nas.files import replacing, sha256
from studies.folders import artifact_folder

_S3 = "s3://"


class ArtifactStore(Protocol):
    """What Optuna asks of a store, and the size of what lies there."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Read an artifact; raises `ArtifactNotFound`."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep an artifact."""

    def remove(self, artifact_id: str) -> None:
        """Delete an artifact."""

    def size(self, artifact_id: str) -> int:
        """Bytes of an artifact; -1 where there is none."""


class Folder(FileSystemArtifactStore):
    """Artifacts in a folder, whole or absent."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.place = place

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep an artifact."""
        with replacing(self._get_filepath(artifact_id)) as partial, partial.open("wb") as file:
            shutil.copyfileobj(content_body, file)

    def size(self, artifact_id: str) -> int:
        """Bytes of an artifact; -1 where there is none."""
        path = self._get_filepath(artifact_id)
        return path.stat().st_size if path.is_file() else -1


class Bucket(Boto3ArtifactStore):
    """Artifacts in a bucket; the endpoint and keys are boto3's own settings."""

    def size(self, artifact_id: str) -> int:
        """Bytes of an artifact; -1 where there is none."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=artifact_id, MaxKeys=1)
        sizes = [o["Size"] for o in found.get("Contents", []) if o["Key"] == artifact_id]
        return int(sizes[0]) if sizes else -1


def open_artifacts(place: str, workspace: Path) -> ArtifactStore:
    """Open a store.

    Args:
        place: a folder or ``s3://BUCKET``; empty for the workspace's own folder.
        workspace: absolute.

    Returns:
        The store; a folder is made when something is kept in it.

    Raises:
        ConfigError: the place is no bucket, or the extra `s3` is not installed.
    """
    if not place.startswith(_S3):
        return Folder(Path(place) if place else artifact_folder(workspace))
    bucket = place.removeprefix(_S3).rstrip("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]+", bucket):
        raise ConfigError(f"artifacts {place!r}: give s3://BUCKET, without a folder in it")
    try:
        return Bucket(bucket)
    except ImportError as error:
        raise ConfigError(
            f"artifacts {place!r} needs boto3; install the extra: uv sync --extra s3"
        ) from error


def keep(store: ArtifactStore, path: Path) -> str:
    """Put a file in a store under the hash of its content, once.

    Args:
        store: any.
        path: of the file.

    Returns:
        Its SHA-256, by which `fetch` finds it.
    """
    name = sha256(path)
    if store.size(name) == path.stat().st_size:
        return name
    if isinstance(store, Folder) and _linked(path, store.place / name):
        return name
    with path.open("rb") as file:
        store.write(name, file)
    return name


def fetch(store: ArtifactStore, artifact: str, target: Path, digest: str = "") -> None:
    """Get a file out of a store, unless it is there already.

    Args:
        store: any.
        artifact: its name there.
        target: where it shall lie.
        digest: SHA-256 of its content, where that is known.

    Raises:
        StudyError: the store has it not, or its content is not what the hash says.
    """
    if digest and target.is_file() and sha256(target) == digest:
        return
    try:
        with replacing(target) as partial:
            source = store.open_reader(artifact)
            with contextlib.closing(source), partial.open("wb") as file:
                shutil.copyfileobj(source, file)
            if digest and sha256(partial) != digest:
                raise StudyError(
                    f"artifact {artifact[:12]} ({target.name}) is damaged: its SHA-256 differs; "
                    "run search again where the study was made, which puts it there anew"
                )
    except ArtifactNotFound as error:
        raise StudyError(
            f"the artifact store has no {target.name} ({artifact[:12]}); give the study's own "
            "with --artifacts"
        ) from error


def _linked(path: Path, target: Path) -> bool:
    """Whether a second name does for a copy: on one disk it costs neither time nor space."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(target) as partial:
            os.link(path, partial)
    except OSError:
        return False
    return True
