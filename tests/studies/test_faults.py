"""A search that is killed, interrupted or run twice at once loses and counts twice nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ado_nas.progress import silent
from studies.config import SearchConfig
from studies.record import StudyRecord, load
from studies.search import search

SCRIPT = """
import sys; sys.path[:0] = sys.argv[4:]
from pathlib import Path
if __name__ == "__main__":
    from objectives.scores import Limits
    from studies.config import SearchConfig
    from studies.search import search
    config = SearchConfig(
        study="fake", preset="fake", evaluator="fake_evaluation",
        trials=int(sys.argv[2]), workers=int(sys.argv[3]), track=False,
        limits=Limits(min_retention=0.0),
    )
    search(config, Path(sys.argv[1]), lambda *a: print(*a, file=sys.stderr))
"""
TRIALS = 16


@pytest.fixture
def start(tmp_path: Path) -> Callable[[int], subprocess.Popen[bytes]]:
    (tmp_path / "parent.py").write_text(SCRIPT)

    def run(workers: int) -> subprocess.Popen[bytes]:
        numbers = map(str, (TRIALS, workers))
        command: list[str | Path] = [
            sys.executable,
            tmp_path / "parent.py",
            tmp_path,
            *numbers,
            *sys.path,
        ]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

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


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def check_whole(record: StudyRecord) -> None:
    assert record.trained == TRIALS
    done = [t for t in record.trials if t.state in ("complete", "pruned")]
    assert len({t.spec_hash for t in done}) == TRIALS
    assert not [t for t in record.trials if t.state == "running"]
    assert all(Path(t.folder).exists() for t in done)
    failed = [t for t in record.trials if t.state == "failed"]
    retried = {t.attributes.get("retry_of") for t in record.trials}
    drawn = [t.number for t in failed if t.params]
    assert set(drawn) <= retried, "a candidate was lost"


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to find the workers")
@pytest.mark.slow
def test_search_is_whole_when_killed_five_times_and_then_run_twice_at_once(
    tmp_path: Path,
    start: Callable[[int], subprocess.Popen[bytes]],
    make_config: Callable[..., SearchConfig],
    faults: Callable[..., None],
) -> None:
    faults(seconds=0.12)
    chance = random.Random(0)
    for blow in range(5):
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
    assert record.states["failed"] > 0
    again = search(make_config(trials=TRIALS, workers=2), tmp_path, silent)
    assert again.trials == record.trials


@pytest.mark.slow
def test_search_puts_its_trials_back_when_interrupted(
    tmp_path: Path,
    start: Callable[[int], subprocess.Popen[bytes]],
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
