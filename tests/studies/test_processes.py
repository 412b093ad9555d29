from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ado_nas.errors import NegativeVerdict
from ado_nas.progress import silent
from studies.processes import call

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
    with pytest.raises(RuntimeError, match="exit code -9"):
        call(fake_targets.die, progress=silent)


def test_child_ends_by_itself_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "if __name__ == '__main__':\n"
        "    import fake_targets\n"
        "    from studies.processes import call\n"
        "    call(fake_targets.sleep, sys.argv[1], progress=lambda *a: None)\n"
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
    child = _read(mark)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 10
    while _exists(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _exists(child)


def _read(mark: Path) -> int:
    until = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return int(mark.read_text())


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # a zombie that nobody reaps has ended, too
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
