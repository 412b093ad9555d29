from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.study import StudyDirection

from ado_nas.errors import ConfigError, StudyError
from reports import dashboard
from reports.dashboard import dashboard_command, free_port, run
from studies.record import StudyRecord
from studies.shelves import Shelves, unseen
from studies.storage import open_store

MakeStudy = Callable[..., StudyRecord]
ROOT = Path(__file__).resolve().parents[2]
LAUNCH = """
import sys
from pathlib import Path
from reports.dashboard import run
say = lambda url: print(url, flush=True)
sys.exit(run(sys.argv[1], Path(sys.argv[2]), port=0, announce=say))
"""


def ask(url: str) -> bytes:
    """The body at a URL of this machine, past any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        body: bytes = answer.read()
    return body


@pytest.fixture
def served(make_study: MakeStudy, tmp_path: Path) -> Iterator[tuple[str, Path, str, bytes]]:
    """A storage with one study of one trial that has an image: URL, artifacts, id and bytes."""
    make_study(scores=1, stops=0)
    image = tmp_path / "ado-runs/studies/made-up/trials/0/samples.png"
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(
        study_name="made-up", storage=storage, directions=["minimize", "minimize"]
    )
    trial = study.ask()
    identifier = upload_artifact(
        study_or_trial=trial,
        file_path=str(image),
        artifact_store=FileSystemArtifactStore(str(artifacts)),
    )
    study.tell(trial, [1.0, 2.0])
    storage.engine.dispose()
    yield url, artifacts, identifier, image.read_bytes()


@contextlib.contextmanager
def launched(
    url: str, artifacts: Path, stderr: int | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`run` in a process of its own, as the command line has it, and the URL it announced."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, url, str(artifacts)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    assert process.stdout
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()


@pytest.mark.slow
def test_dashboard_serves_trials_and_images_until_interrupted(
    served: tuple[str, Path, str, bytes],
) -> None:
    url, artifacts, identifier, image = served
    with launched(url, artifacts) as (process, address):
        assert address.startswith("http://127.0.0.1:") and address.endswith("/dashboard/")
        root = address.removesuffix("/dashboard/")
        assert b"<html" in ask(address).lower()
        study = json.loads(ask(f"{root}/api/studies"))["study_summaries"][0]
        assert study["study_name"] == "made-up"
        trials = json.loads(ask(f"{root}/api/studies/{study['study_id']}?after=0"))["trials"]
        assert [a["artifact_id"] for a in trials[0]["artifacts"]] == [identifier]
        trial = trials[0]["trial_id"]
        assert ask(f"{root}/artifacts/{study['study_id']}/{trial}/{identifier}") == image
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
        assert not answers(root)


def test_artifacts_are_found_where_their_study_keeps_them(
    served: tuple[str, Path, str, bytes], tmp_path: Path
) -> None:
    url, artifacts, identifier, image = served
    with contextlib.closing(open_store(url)) as store:
        shelves = Shelves(tmp_path / "workspace", store.storage)
        with pytest.raises(ArtifactNotFound):
            shelves.open_reader(identifier)
        assert unseen(store.storage) == ""
        study = optuna.load_study(
            study_name="made-up", storage=store.storage, sampler=optuna.samplers.RandomSampler()
        )
        study.set_user_attr("artifacts", str(artifacts))
        with shelves.open_reader(identifier) as found:
            assert found.read() == image
        (tmp_path / "workspace").mkdir()
        shelves.write("uploaded", io.BytesIO(b"a"))
        assert (tmp_path / "workspace" / "uploaded").read_bytes() == b"a"
        shelves.remove(identifier)
        assert not (artifacts / identifier).exists()
        study.set_user_attr("artifacts", "s3://ado-nas")
        assert unseen(store.storage).endswith("in a bucket: made-up (s3://ado-nas)")


@pytest.mark.slow
def test_pictures_of_a_study_with_a_folder_of_its_own_are_shown(
    served: tuple[str, Path, str, bytes], tmp_path: Path
) -> None:
    url, artifacts, identifier, image = served
    with contextlib.closing(open_store(url)) as store:
        store.storage.set_study_user_attr(1, "artifacts", str(artifacts))
        other = store.storage.create_new_study([StudyDirection.MINIMIZE], "far")
        store.storage.set_study_user_attr(other, "artifacts", "s3://ado-nas")
        trial = store.storage.get_all_trials(1)[0]._trial_id
    with launched(url, tmp_path / "empty", stderr=subprocess.PIPE) as (process, address):
        root = address.removesuffix("/dashboard/")
        assert ask(f"{root}/artifacts/1/{trial}/{identifier}") == image
        assert process.stderr
        assert "not shown" in process.stderr.readline()


@pytest.mark.slow
def test_server_ends_when_its_parent_is_killed(served: tuple[str, Path, str, bytes]) -> None:
    with launched(*served[:2]) as (process, address):
        root = address.removesuffix("/dashboard/")
        assert answers(root)
        os.kill(process.pid, signal.SIGKILL)
        end = time.monotonic() + 15
        while answers(root) and time.monotonic() < end:
            time.sleep(0.1)
        assert not answers(root)


def answers(root: str) -> bool:
    """Whether a dashboard listens there."""
    try:
        ask(f"{root}/api/studies")
    except OSError:
        return False
    return True


def test_command_runs_this_python_and_stays_on_this_machine() -> None:
    words = dashboard_command("sqlite:///a.db", Path("artifacts"))
    assert words[:3] == [sys.executable, "-m", "reports.dashboard"]
    assert words[3:] == [
        "sqlite:///a.db",
        "--artifacts",
        "artifacts",
        "--host",
        "127.0.0.1",
        "--port",
        "8080",
    ]


def test_run_refuses_when_there_is_no_storage(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="run a search first"):
        run(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "artifacts")
    assert list(tmp_path.iterdir()) == []


def test_run_says_why_when_the_storage_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "broken.db"
    file.write_bytes(b"not a database at all, only text" * 9)
    with pytest.raises(StudyError, match="does not answer"):
        run(f"sqlite:///{file}", tmp_path / "artifacts", port=0)


def test_free_port_refuses_when_taken_or_not_ours() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*--port {port + 1}"):
            free_port("127.0.0.1", port)
    with pytest.raises(ConfigError, match="cannot listen"):
        free_port("192.0.2.1", 8080)
    assert free_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize(
    ("host", "shown"),
    [("::1", "[::1]"), ("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("box.lan", "box.lan")],
)
def test_announced_address_is_one_that_a_browser_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, shown: str
) -> None:
    announced: list[str] = []
    process = SimpleNamespace(wait=lambda: 0)
    for name, result in {"_check_exists": None, "free_port": 8080, "_start": process}.items():
        monkeypatch.setattr(dashboard, name, lambda *_, result=result: result)
    for name in ("_await_answer", "_stop"):
        monkeypatch.setattr(dashboard, name, lambda *_: None)
    assert run("sqlite:///a.db", tmp_path, host, announce=announced.append) == 0
    assert announced == [f"http://{shown}:8080/dashboard/"]
