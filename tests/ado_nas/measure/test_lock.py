from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ado_nas.measure import lock

pytestmark = pytest.mark.usefixtures("own_lock")

MOMENT = 0.15


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def waiter(block: Callable[[], object], order: list[str], name: str) -> threading.Thread:
    def work() -> None:
        with block():  # type: ignore[attr-defined]
            order.append(name)
            time.sleep(MOMENT)

    return started(work)


def test_shares_are_held_together() -> None:
    both = threading.Barrier(2, timeout=5)

    def hold() -> None:
        with lock.shared():
            both.wait()

    threads = [started(hold) for _ in range(2)]
    for thread in threads:
        thread.join(5)
    assert not both.broken


@pytest.mark.parametrize("other", [lock.shared, lock.exclusive])
def test_nobody_gets_in_while_one_has_the_device_alone(other: Callable[[], object]) -> None:
    order: list[str] = []
    with lock.exclusive():
        thread = waiter(other, order, "other")
        time.sleep(MOMENT)
        assert order == []
    thread.join(5)
    assert order == ["other"]


def test_new_shares_wait_behind_one_who_wants_the_device_alone() -> None:
    order: list[str] = []
    with lock.shared():
        alone = waiter(lock.exclusive, order, "alone")
        time.sleep(MOMENT)
        late = waiter(lock.shared, order, "late share")
        time.sleep(MOMENT)
        assert order == []
    alone.join(5)
    late.join(5)
    assert order == ["alone", "late share"]


def test_the_timer_is_not_starved_by_overlapping_training_steps() -> None:
    stop = threading.Event()

    def train() -> None:
        while not stop.is_set():
            with lock.shared():
                time.sleep(0.01)

    threads = [started(train) for _ in range(3)]
    begin = time.monotonic()
    for _ in range(5):
        with lock.exclusive():
            pass
    waited = time.monotonic() - begin
    stop.set()
    for thread in threads:
        thread.join(5)
    assert waited < 2


def test_blocks_nest_in_one_thread_in_every_order() -> None:
    blocks = (lock.shared, lock.exclusive)
    for first in blocks:
        for second in blocks:
            with first(), second(), first():
                pass
    order: list[str] = []
    waiter(lock.exclusive, order, "free again").join(5)
    assert order == ["free again"]


def test_share_is_held_again_after_an_inner_exclusive_block() -> None:
    order: list[str] = []
    with lock.shared():
        with lock.exclusive():
            pass
        thread = waiter(lock.exclusive, order, "alone")
        time.sleep(MOMENT)
        assert order == []
    thread.join(5)
    assert order == ["alone"]


def test_lock_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from ado_nas.measure import lock
lock.folder = lambda: Path(sys.argv[1])
with lock.exclusive():
    print("held", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        order: list[str] = []
        thread = waiter(lock.exclusive, order, "mine")
        time.sleep(MOMENT)
        assert order == []
        os.kill(holder.pid, signal.SIGKILL)
        thread.join(10)
        assert order == ["mine"]
