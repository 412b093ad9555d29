"""The artifacts of all studies of a storage, each of which may have a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage

from studies.parts import PLACE


class Shelves:
    """A store of Optuna's kind: it keeps in one folder, and finds in those of the studies, too.

    Args:
        own: the folder of the workspace.
        storage: of the studies; looked at for what is not there, for studies come and go.
    """

    def __init__(self, own: Path, storage: BaseStorage) -> None:
        self._own = own
        self._storage = storage

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Read an artifact; raises `ArtifactNotFound`."""
        return self._holding(artifact_id).open_reader(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep an artifact that somebody uploads."""
        FileSystemArtifactStore(self._own).write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Delete an artifact; raises `ArtifactNotFound`."""
        self._holding(artifact_id).remove(artifact_id)

    def _holding(self, artifact_id: str) -> FileSystemArtifactStore:
        for folder in self._everywhere():
            if (folder / artifact_id).is_file():
                return FileSystemArtifactStore(folder)
        raise ArtifactNotFound(f"no artifact {artifact_id}")

    def _everywhere(self) -> Iterator[Path]:
        yield self._own
        yield from (Path(p) for p in places(self._storage).values() if "://" not in p)


def places(storage: BaseStorage) -> dict[str, str]:
    """Where the studies of a storage keep their artifacts.

    Args:
        storage: of Optuna.

    Returns:
        A folder or ``s3://BUCKET`` by name of the study; those that are prepared.
    """
    found = {s.study_name: s.user_attrs.get(PLACE) for s in storage.get_all_studies()}
    return {name: str(place) for name, place in found.items() if place}


def unseen(storage: BaseStorage) -> str:
    """Whose artifacts cannot be shown, in a line; empty where all can."""
    away = {name: place for name, place in places(storage).items() if "://" in place}
    if not away:
        return ""
    said = ", ".join(f"{name} ({place})" for name, place in sorted(away.items()))
    return f"pictures are not shown of studies that keep them in a bucket: {said}"
