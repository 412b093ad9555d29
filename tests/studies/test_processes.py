from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ado_nas.errors import NegativeVerdict, ProcessDied
from ado_nas.progress import silent
from studies.liveness import killed, lives
from studies.processes import Child, call
from studies.session import Session
from studies.supervisor import Crew, Member

FAKES = Path(__file__).parents[1] / "fakes"


def test_call_gives_back_the_result_the_progress_and_a_clean_stdout(
    capfd: pytest.CaptureFixture[str],
) -> None:
    fake_targets = importlib.import_module("fake_targets")

    shown: list[tuple[object, ...]] = []
    assert call(fake_targets.add, 2, 3, progress=lambda *a: shown.append(a)) == 5
    assert ("adding", 2, 2, "") in shown
    assert capfd.readouterr().out == ""


def test_call_raises_what_the_child_raised() -> None:
    fake_targets = importlib.import_module("fake_targets")

    with pytest.raises(NegativeVerdict, match="the teacher is no good"):
        call(fake_targets.refuse, progress=silent)
    with pytest.raises(RuntimeError, match=r"(?s)broke.*KeyError"):
        call(fake_targets.broken, progress=silent)
    with pytest.raises(ProcessDied, match="exit code -9"):
        call(fake_targets.die, progress=silent)


def test_child_ends_by_itself_and_in_order_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "if __name__ == '__main__':\n"
        "    import fake_targets\n"
        "    from studies.processes import call\n"
        "    call(fake_targets.live, sys.argv[1], progress=lambda *a: None)\n"
    )
    (tmp_path / "parent.py").write_text(script)
    mark = tmp_path / "pid"
    command: list[str | Path] = [
        sys.executable,
        tmp_path / "parent.py",
        mark,
        str(FAKES),
        *sys.path,
    ]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    child, name = read_mark(mark)
    assert lives(name)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 10
    while _exists(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _exists(child)
    assert lives(name) is False and not killed(name)


@pytest.mark.parametrize(("blow", "sudden"), [(signal.SIGKILL, True), (signal.SIGTERM, False)])
def test_death_of_a_worker_is_sudden_unless_it_was_asked_to_end(
    tmp_path: Path, blow: signal.Signals, sudden: bool
) -> None:
    child = Child(importlib.import_module("fake_targets").live, str(tmp_path / "mark"))
    _, name = read_mark(tmp_path / "mark")
    assert child.process.pid is not None
    os.kill(child.process.pid, blow)
    child.process.join()
    child.close()
    assert lives(name) is False and killed(name) == sudden


def test_crew_that_is_closed_excuses_its_workers(
    tmp_path: Path, make_session: Callable[..., Session]
) -> None:
    crew = Crew(make_session(), silent)
    target = importlib.import_module("fake_targets").live
    crew.members.append(Member(0, Child(target, str(tmp_path / "mark"), True)))
    _, name = read_mark(tmp_path / "mark")
    crew.close()
    assert lives(name) is False and not killed(name)


def read_mark(mark: Path) -> tuple[int, str]:
    """The process id and the name of a worker that does nothing."""
    until = time.monotonic() + 60
    while not mark.exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    number, name = mark.read_text().split(" ", 1)
    return int(number), name


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # a zombie that nobody reaps has ended, too
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
