"""What every test shares."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

# Before any test module imports MLX: the runtime must come first.
import ado_nas  # noqa: F401
from ado_nas.measure import lock

# An installed copy of `cli` must not stand in for this one; `benchmarks` is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


# A shell that runs the tests in the background has it ignored, and so would all they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the slow ones to CI, so that the rest is done within minutes."""
    if os.environ.get("ADO_SLOW_TESTS"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes many seconds; set ADO_SLOW_TESTS=1"))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the tests must not reach them."""
    for name in ("ADO_WORKSPACE", "ADO_RUNTIME", "ADO_CORES", "ADO_STREAMS", "ADO_FAKE_DEVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A device lock that no other process of this machine holds."""
    monkeypatch.setattr(lock, "folder", lambda: tmp_path / "lock")
    return tmp_path / "lock"
