"""A search that is killed, interrupted or run twice at once loses and counts twice nothing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.samplers import RandomSampler

from ado_nas.progress import silent
from reports.dashboard import dashboard_command
from studies.config import SearchConfig
from studies.folders import artifact_folder
from studies.record import StudyRecord, load
from studies.search import search
from studies.settlement import ARTIFACTS
from studies.storage import open_store, storage_url
from studies.tracking import STATUS, tracking_uri

SCRIPT = """
import sys; sys.path[:0] = sys.argv[5:]
from pathlib import Path
if __name__ == "__main__":
    from objectives.scores import Limits
    from studies.config import SearchConfig
    from studies.search import search
    config = SearchConfig(
        study="fake", preset="fake", evaluator="fake_evaluation",
        trials=int(sys.argv[2]), workers=int(sys.argv[3]), track=False, finalists=0,
        storage=sys.argv[4],
        limits=Limits(min_retention=0.0),
    )
    search(config, Path(sys.argv[1]), lambda *a: print(*a, file=sys.stderr))
"""
ROOT = Path(__file__).resolve().parents[2]
TRIALS = 16
WAIT = 240.0  # seconds, of a busy machine


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    (tmp_path / "parent.py").write_text(SCRIPT)

    def run(workers: int, storage: str = "") -> subprocess.Popen[bytes]:
        numbers = map(str, (TRIALS, workers))
        command: list[str | Path] = [
            sys.executable,
            tmp_path / "parent.py",
            tmp_path,
            *numbers,
            storage,
            *sys.path,
        ]
        with (tmp_path / "stderr.txt").open("ab") as stderr:
            return subprocess.Popen(command, stderr=stderr)

    return run


def family(pid: int) -> list[int]:
    """A process and its children, as far as /proc tells."""
    found = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def trained(workspace: Path) -> int:
    """How many trials have left something, without touching the storage."""
    return len(list(workspace.glob("studies/fake/trials/*/samples.png")))


def wait_for(condition: Callable[[], bool], seconds: float = WAIT) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def read(storage: str, workspace: Path) -> StudyRecord:
    return load(storage_url(storage, workspace), "fake", workspace)


def check_whole(record: StudyRecord) -> None:
    assert record.trained == TRIALS
    done = [t for t in record.trials if t.state in ("complete", "pruned")]
    assert len({t.spec_hash for t in done}) == TRIALS
    assert not [t for t in record.trials if t.state == "running"]
    assert all(Path(t.folder).exists() for t in done)
    assert record.states["failed"] == 0
    back = [t for t in record.trials if t.state == "requeued"]
    retried = {t.attributes.get("retry_of") for t in record.trials}
    drawn = [t.number for t in back if t.params]
    assert set(drawn) <= retried, "a candidate was lost"


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to find the workers")
@pytest.mark.slow
def test_search_is_whole_when_killed_thrice_and_then_run_twice_at_once(
    tmp_path: Path,
    start: Callable[..., subprocess.Popen[bytes]],
    make_config: Callable[..., SearchConfig],
    faults: Callable[..., None],
) -> None:
    faults(seconds=0.12)
    chance = random.Random(0)
    for blow in range(3):
        process = start(1 + blow % 2)
        before = trained(tmp_path)
        wait_for(lambda b=before: trained(tmp_path) > b)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.4))
        victims = family(process.pid) if blow % 2 else [process.pid]  # or the supervisor alone
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        process.wait()
    assert trained(tmp_path) < TRIALS
    both = [start(1), start(1)]
    assert [p.wait(120) for p in both] == [0, 0]
    record = load(f"sqlite:///{tmp_path}/studies.db", "fake", tmp_path)
    check_whole(record)
    assert [t for t in record.trials if t.state == "requeued"]
    again = search(make_config(trials=TRIALS, workers=2), tmp_path, silent)
    assert again.trials == record.trials


@pytest.mark.slow
def test_search_puts_its_trials_back_when_interrupted(
    tmp_path: Path,
    start: Callable[..., subprocess.Popen[bytes]],
    make_config: Callable[..., SearchConfig],
    faults: Callable[..., None],
) -> None:
    faults(seconds=0.3)
    process = start(1)
    wait_for(lambda: trained(tmp_path) >= 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    record = load(f"sqlite:///{tmp_path}/studies.db", "fake", tmp_path)
    assert not [t for t in record.trials if t.state == "running"]
    faults(seconds=0.0)
    check_whole(search(make_config(trials=TRIALS), tmp_path, silent))


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to find the workers")
@pytest.mark.slow
def test_finalists_that_are_done_stay_done_when_all_is_killed(
    tmp_path: Path,
    start: Callable[[int], subprocess.Popen[bytes]],
    make_config: Callable[..., SearchConfig],
    faults: Callable[..., None],
) -> None:
    (tmp_path / "parent.py").write_text(SCRIPT.replace("finalists=0", "finalists=3"))
    faults(seconds=0.2)
    process = start(2)
    wait_for(lambda: len(list(tmp_path.glob("studies/fake/trials/*/seeds/*/card.json"))) >= 3)
    for pid in family(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    before = trainings(tmp_path)
    assert before and len(before) < 6
    record = search(make_config(trials=TRIALS, finalists=3, workers=2), tmp_path, silent)
    assert len(record.finalists) == 3
    after = trainings(tmp_path)
    assert len(after) == 6
    assert {key: after[key] for key in before} == before  # nothing was trained again
    check_whole(record)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to find the workers")
@pytest.mark.slow
def test_mirror_and_artifacts_are_those_of_the_trials_when_all_was_killed(
    tmp_path: Path,
    start: Callable[..., subprocess.Popen[bytes]],
    make_config: Callable[..., SearchConfig],
    faults: Callable[..., None],
) -> None:
    (tmp_path / "parent.py").write_text(SCRIPT.replace("track=False", "track=True"))
    faults(seconds=0.15)
    process = start(2)
    wait_for(lambda: mirrored(tmp_path) >= 2)
    for pid in family(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert mirrored(tmp_path) < TRIALS
    record = search(make_config(trials=TRIALS, workers=2, track=True), tmp_path, silent)
    check_whole(record)
    check_mirror(record, tmp_path)
    check_artifacts(record, tmp_path)


def mirrored(workspace: Path) -> int:
    """How many trials MLflow's own database has, whole."""
    if not (workspace / "mlflow.db").exists():
        return 0
    query = "SELECT count(*) FROM runs WHERE name LIKE 'fake #%' AND status != 'RUNNING'"
    with contextlib.closing(sqlite3.connect(workspace / "mlflow.db", timeout=30)) as connection:
        try:
            return int(connection.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # no tables yet
            return 0


def check_mirror(record: StudyRecord, workspace: Path) -> None:
    """Each trial has one run, with its state and figures, and nothing else has one."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri(workspace))
    experiment = client.get_experiment_by_name("ado-nas/fake")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    runs = {r.data.tags["ado.trial"]: r for r in found}
    parent = runs.pop("study")
    assert len(found) == len(runs) + 1
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["hypervolume"] == pytest.approx(record.hypervolume)
    assert set(runs) == {str(t.number) for t in record.trials}
    for trial in record.trials:
        run = runs[str(trial.number)]
        assert run.info.status == STATUS.get(trial.state, "KILLED")
        assert run.data.tags["ado.spec_hash"] == trial.spec_hash
        assert {n: run.data.metrics[n] for n in trial.values} == trial.values
        assert run.data.tags.get("folder", "") == trial.folder


def check_artifacts(record: StudyRecord, workspace: Path) -> None:
    """Each trial that was scored has each of its files once, whole."""
    with contextlib.closing(open_store(f"sqlite:///{workspace}/studies.db")) as store:
        study = optuna.load_study(
            study_name="fake", storage=store.storage, sampler=RandomSampler()
        )
        kept = {
            t.number: get_all_artifact_meta(study_or_trial=t, storage=store.storage)
            for t in study.get_trials()
        }
    for trial in record.trials:
        if trial.state != "complete":
            continue
        files = {m.filename: m.artifact_id for m in kept[trial.number]}
        made = [name for name in ARTIFACTS if (Path(trial.folder) / name).exists()]
        assert len(made) >= 4 and len(kept[trial.number]) == len(made)
        for name in made:
            stored = artifact_folder(workspace) / files[name]
            assert stored.read_bytes() == (Path(trial.folder) / name).read_bytes()


def trainings(workspace: Path) -> dict[str, float]:
    """The seconds that each finished training of a finalist took."""
    study = optuna.load_study(
        study_name="fake", storage=f"sqlite:///{workspace}/studies.db", sampler=RandomSampler()
    )
    rows = {k: v for k, v in study.user_attrs.items() if k.startswith("finalist:")}
    return {key: row["seconds"] for key, row in rows.items() if "seconds" in row}


@pytest.mark.slow
def test_search_goes_on_when_one_of_two_workers_is_killed(
    tmp_path: Path,
    storage: str,
    start: Callable[..., subprocess.Popen[bytes]],
    faults: Callable[..., None],
) -> None:
    faults(seconds=0.2)
    process = start(2, storage)
    wait_for(lambda: trained(tmp_path) >= 3)
    workers = [p for p in family(process.pid)[1:] if b"spawn_main" in command_of(p)]
    os.kill(max(workers), signal.SIGKILL)
    assert process.wait(WAIT) == 0
    record = read(storage, tmp_path)
    check_whole(record)
    drawn = {t.number for t in record.trials if t.state == "requeued" and t.params}
    retries = [t for t in record.trials if "retry_of" in t.attributes]
    assert len(retries) <= 1
    for retry in retries:
        dead = record.trial(retry.attributes["retry_of"])
        if dead.number not in drawn:  # its last word arrived after it: then its scores are reused
            assert dead.state in ("complete", "pruned") and retry.state == "duplicate"


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.slow
def test_search_outlasts_a_server_that_stumbles_and_is_then_away_for_twenty_seconds(
    tmp_path: Path,
    server: Any,
    start: Callable[..., subprocess.Popen[bytes]],
    faults: Callable[..., None],
) -> None:
    faults(seconds=0.5)
    chance = random.Random(0)
    storage = server.database()
    process = start(2, storage)
    wait_for(lambda: trained(tmp_path) >= 1)  # the other worker may still be starting
    for seconds in (0.5, 0.5, 20):
        server.stop()
        time.sleep(seconds)
        assert process.poll() is None
        server.start()
        time.sleep(chance.uniform(0, 0.7))
    assert process.wait(WAIT) == 0
    check_whole(read(storage, tmp_path))


@pytest.mark.slow
def test_search_outlasts_a_file_that_somebody_locks(
    tmp_path: Path,
    start: Callable[..., subprocess.Popen[bytes]],
    faults: Callable[..., None],
) -> None:
    faults(seconds=0.1)
    process = start(2)
    wait_for(lambda: trained(tmp_path) >= 3)
    other = sqlite3.connect(tmp_path / "studies.db", isolation_level=None, timeout=30)
    other.execute("BEGIN EXCLUSIVE")
    time.sleep(5)
    other.execute("COMMIT")
    other.close()
    assert process.wait(WAIT) == 0
    check_whole(read("", tmp_path))


@pytest.mark.slow
def test_search_is_whole_when_our_dashboard_reads_along_and_writes(
    tmp_path: Path,
    storage: str,
    start: Callable[..., subprocess.Popen[bytes]],
    faults: Callable[..., None],
) -> None:
    faults(seconds=0.3)
    process = start(2, storage)
    wait_for(lambda: trained(tmp_path) >= 1)
    faults(seconds=10)  # until the dashboard is up
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = storage_url(storage, tmp_path)
    command = dashboard_command(url, tmp_path / "artifacts", port=port)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ROOT) as dashboard:
        seen = 0
        while process.poll() is None:
            seen += asked(f"http://127.0.0.1:{port}/api/studies/1?after=0")
            if seen == 1:
                faults(seconds=0.1)
            time.sleep(0.05)
        dashboard.terminate()
    assert process.returncode == 0 and seen
    check_whole(read(storage, tmp_path))
    with contextlib.closing(open_store(url)) as store:
        kept = store.storage.get_study_system_attrs(1)
    key = "dashboard:plot_data:ado-size:"
    parts = sum(name.startswith(key) for name in kept)  # as many as the trials it saw need
    figure = json.loads("".join(kept[f"{key}{i}"] for i in range(parts)))
    assert figure["data"] and kept["dashboard:note_str:0"]


def asked(url: str) -> bool:
    """Whether the dashboard answers, which it does once it is up."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            return len(answer.read()) > 0
    except OSError:
        return False
