from __future__ import annotations

import errno
import io
import shutil
from pathlib import Path
from typing import Any

import pytest

from ado_nas.errors import ConfigError, StudyError
from ado_nas.files import sha256
from studies import patience
from studies.artifacts import (
    ArtifactStore,
    Bucket,
    Folder,
    away,
    fetch,
    keep,
    open_artifacts,
)


class Client:
    """The calls of boto3's S3 client that a bucket makes, on a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.uploads = 0

    def upload_fileobj(self, source: Any, bucket: str, key: str) -> None:
        self.uploads += 1
        self.kept[key] = source.read()

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        if Key not in self.kept:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self.kept[Key])}

    def list_objects_v2(self, Bucket: str, Prefix: str, MaxKeys: int) -> dict[str, Any]:
        found = sorted(k for k in self.kept if k.startswith(Prefix))[:MaxKeys]
        return {"Contents": [{"Key": k, "Size": len(self.kept[k])} for k in found]}


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return Folder(tmp_path / "kept")
    pytest.importorskip("boto3", reason="extra s3 is not installed")
    return Bucket("bucket", Client())


def damage(store: ArtifactStore, name: str) -> None:
    if isinstance(store, Bucket):
        store.client.kept[name] = b"something else"
    else:
        assert isinstance(store, Folder)
        (store.place / name).unlink()
        (store.place / name).write_bytes(b"something else")


def test_file_is_kept_once_by_its_content_and_comes_back(
    store: ArtifactStore, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"weights")
    names = {keep(store, tmp_path / name) for name in ("a", "b")}
    assert names == {sha256(tmp_path / "a")}
    (name,) = names
    if isinstance(store, Bucket):
        assert store.client.uploads == 1
    fetch(store, name, tmp_path / "far" / "c", name)
    assert (tmp_path / "far" / "c").read_bytes() == b"weights"


def test_fetch_refuses_what_is_damaged_or_missing_and_leaves_nothing(
    store: ArtifactStore, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    name = keep(store, tmp_path / "a")
    damage(store, name)
    with pytest.raises(StudyError, match=r"\(c\) is damaged: its SHA-256 differs"):
        fetch(store, name, tmp_path / "c", name)
    with pytest.raises(StudyError, match="has no c"):
        fetch(store, "0" * 64, tmp_path / "c")
    assert not [p for p in tmp_path.iterdir() if p.name.endswith("c")]


def test_what_is_there_already_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    fetch(
        Folder(tmp_path / "empty"), sha256(tmp_path / "a"), tmp_path / "a", sha256(tmp_path / "a")
    )


@pytest.mark.parametrize("damaged", [b"wei", b"weighty"])
def test_damaged_artifact_is_written_again(tmp_path: Path, damaged: bytes) -> None:
    store = Folder(tmp_path / "kept")
    (tmp_path / "a").write_bytes(b"weights")
    name = keep(store, tmp_path / "a")
    (store.place / name).write_bytes(damaged)
    assert (tmp_path / "a").read_bytes() == b"weights"  # the two are not one file
    keep(store, tmp_path / "a")
    assert sha256(store.place / name) == name


@pytest.mark.parametrize("place", ["s3://", "s3://Bucket", "s3://bucket/folder"])
def test_open_artifacts_refuses_what_is_no_bucket(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match="give s3://BUCKET"):
        open_artifacts(place, tmp_path)


def test_open_artifacts_is_the_workspaces_folder_when_none_is_given(tmp_path: Path) -> None:
    store = open_artifacts("", tmp_path)
    assert isinstance(store, Folder) and store.place == tmp_path / "artifacts"


def test_writing_waits_for_a_store_that_is_away_and_begins_anew(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    (tmp_path / "a").write_bytes(b"weights")
    fails = [OSError(errno.ESTALE, "stale"), ConnectionResetError()]
    place, name = (
        (store.client, "upload_fileobj") if isinstance(store, Bucket) else (shutil, "copyfileobj")
    )
    whole = getattr(place, name)

    def flaky(source: Any, *given: Any) -> None:
        if fails:
            source.read(3)
            raise fails.pop()
        whole(source, *given)

    monkeypatch.setattr(place, name, flaky)
    with (tmp_path / "a").open("rb") as file:
        store.write("x", file)
    fetch(store, "x", tmp_path / "b", sha256(tmp_path / "a"))
    assert not fails


def test_store_that_stays_away_or_refuses_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "OUTAGE_SECONDS", 0.0)
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    gone = open_artifacts(str(tmp_path / "mount"), tmp_path)
    with pytest.raises(StudyError, match="the artifact store has not answered for 0 s"):
        gone.write("x", io.BytesIO(b"weights"))
    assert not (tmp_path / "mount").exists()  # nobody else would find it there
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match=r"the artifact store refuses \(\w+: ") as caught:
        Folder(tmp_path / "file" / "kept").write("x", io.BytesIO(b"weights"))
    assert "\n" not in str(caught.value)


def test_bucket_that_is_busy_is_away_and_one_that_forbids_is_not() -> None:
    exceptions = pytest.importorskip("botocore.exceptions", reason="extra s3 is not installed")

    def said(status: int) -> Exception:
        told = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        error: Exception = exceptions.ClientError(told, "PutObject")
        return error

    assert away(said(503)) and not away(said(403))
    assert away(exceptions.EndpointConnectionError(endpoint_url="http://s3"))
    assert not away(exceptions.NoCredentialsError()) and not away(None)
