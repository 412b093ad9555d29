"""Where files of a study are kept for all its machines: a folder, or a bucket of S3's kind."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from optuna.artifacts import Boto3ArtifactStore, FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from ado_nas.errors import AdoNasError, ArtifactError, ConfigError, StudyError, full_disk
from ado_nas.files import replacing, sha256
from studies.folders import artifact_folder
from studies.patience import through_outages

_S3 = "s3://"
_AWAY = {
    *(errno.EIO, errno.ENODEV, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
}  # what a mounted folder says whose server does not answer
_BUCKET_AWAY = (
    *("ConnectionError", "ConnectionClosedError", "HTTPClientError", "IncompleteReadError"),
    *("TimeoutError", "ResponseStreamingError"),
)  # how the names of botocore's errors end that say the same

T = TypeVar("T")


class ArtifactStore(Protocol):
    """What Optuna asks of a store, and whether it has what is named by its hash."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Read an artifact; raises `ArtifactNotFound`."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep an artifact."""

    def remove(self, artifact_id: str) -> None:
        """Delete an artifact."""

    def holds(self, digest: str, size: int) -> bool:
        """Whether an artifact named by its SHA-256 is there whole, as far as is told at once."""


class Folder(FileSystemArtifactStore):
    """Artifacts in a folder, whole or absent.

    Args:
        place: the folder.
        mounted: whether it is there before anything is written; else it is made.
    """

    def __init__(self, place: Path, mounted: bool = False) -> None:
        super().__init__(place)
        self.place, self._mounted = place, mounted

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Read an artifact; raises `ArtifactNotFound`."""
        self._look()
        return super().open_reader(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep an artifact; waits while the folder is away."""

        def copy() -> None:
            self._look()
            content_body.seek(0)
            with replacing(self._get_filepath(artifact_id)) as partial, partial.open("wb") as file:
                shutil.copyfileobj(content_body, file)

        reaching(copy)

    def holds(self, digest: str, size: int) -> bool:
        """Whether an artifact named by its SHA-256 is there, and is that."""
        path = self.place / digest
        return path.is_file() and path.stat().st_size == size and sha256(path) == digest

    def _look(self) -> None:
        if self._mounted and not self.place.is_dir():
            raise OSError(errno.ENOTCONN, f"{self.place} is not mounted")


class Bucket(Boto3ArtifactStore):
    """Artifacts in a bucket; the endpoint and keys are boto3's own settings."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep an artifact; waits while the bucket is away."""

        def upload() -> None:
            content_body.seek(0)
            super(Bucket, self).write(artifact_id, content_body)

        reaching(upload)

    def holds(self, digest: str, size: int) -> bool:
        """Whether an artifact named by its SHA-256 is there in its size; a bucket keeps whole."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=digest, MaxKeys=1)
        return [size] == [o["Size"] for o in found.get("Contents", []) if o["Key"] == digest]


def open_artifacts(place: str, workspace: Path) -> ArtifactStore:
    """Open a store.

    Args:
        place: a folder or ``s3://BUCKET``; empty for the workspace's own folder.
        workspace: absolute.

    Returns:
        The store; the workspace's own folder is made when something is kept in it.

    Raises:
        ConfigError: the place is no bucket, or the extra `s3` is not installed.
    """
    if not place.startswith(_S3):
        return Folder(Path(place), mounted=True) if place else Folder(artifact_folder(workspace))
    bucket = place.removeprefix(_S3).rstrip("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]+", bucket):
        raise ConfigError(f"artifacts {place!r}: give s3://BUCKET, without a folder in it")
    try:
        return Bucket(bucket)
    except ImportError as error:
        raise ConfigError(
            f"artifacts {place!r} needs boto3; install the extra: uv sync --extra s3"
        ) from error


def reaching(call: Callable[[], T], patient: bool = True) -> T:
    """Call an artifact store until it answers.

    Args:
        call: can be made again.
        patient: whether to wait while it is away.

    Returns:
        What it returns.

    Raises:
        StudyError: it was away for too long, or refuses; in one line.
        ArtifactNotFound: as `call` says.
        OSError: no space is left on a disk.
    """
    try:
        return through_outages(call, away, "the artifact store") if patient else call()
    except (AdoNasError, ArtifactNotFound):
        raise
    except Exception as error:
        if full_disk(error):
            raise
        said = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        raise StudyError(
            f"the artifact store refuses ({said}); check --artifacts and what it asks for, and "
            "the same command goes on from here"
        ) from error


def away(error: BaseException | None) -> bool:
    """Whether an error says that an artifact store does not answer, and not that it refuses."""
    while error is not None:
        if isinstance(error, (ConnectionError, TimeoutError)):
            return True
        if isinstance(error, OSError) and error.errno in _AWAY:
            return True
        module, name = type(error).__module__, type(error).__name__
        if module.startswith("botocore") and name.endswith(_BUCKET_AWAY):  # need not be installed
            return True
        answer = getattr(error, "response", None)  # of a bucket: a ClientError
        told = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
        if told.get("HTTPStatusCode", 0) in (429, 500, 502, 503, 504):
            return True
        error = error.__cause__ or error.__context__
    return False


def keep(store: ArtifactStore, path: Path) -> str:
    """Put a file in a store under the hash of its content, once.

    Args:
        store: any.
        path: of the file.

    Returns:
        Its SHA-256, by which `fetch` finds it.
    """
    name = sha256(path)
    if not reaching(lambda: store.holds(name, path.stat().st_size)):
        with path.open("rb") as file:
            store.write(name, file)
    return name


def fetch(
    store: ArtifactStore, artifact: str, target: Path, digest: str = "", patient: bool = True
) -> None:
    """Get a file out of a store, unless it is there already.

    Args:
        store: any.
        artifact: its name there.
        target: where it shall lie.
        digest: SHA-256 of its content, where that is known.
        patient: whether to wait while the store is away.

    Raises:
        ArtifactError: the store has it not, or its content is not what the hash says.
        StudyError: the store was away for too long, or refuses.
    """
    if digest and target.is_file() and sha256(target) == digest:
        return
    try:
        reaching(lambda: _copy(store, artifact, target, digest), patient)
    except ArtifactNotFound as error:
        raise ArtifactError(
            f"the artifact store has no {target.name} ({artifact[:12]}); give the study's own "
            "with --artifacts"
        ) from error


def _copy(store: ArtifactStore, artifact: str, target: Path, digest: str) -> None:
    with replacing(target) as partial:
        source = store.open_reader(artifact)
        with contextlib.closing(source), partial.open("wb") as file:
            shutil.copyfileobj(source, file)
        if digest and sha256(partial) != digest:
            raise ArtifactError(
                f"artifact {artifact[:12]} ({target.name}) is damaged: its SHA-256 differs; "
                "run search again where the study was made, which puts it there anew"
            )
