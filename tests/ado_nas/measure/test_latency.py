from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.measure.latency import beside, time_beside, time_calls, time_in_turn

pytestmark = pytest.mark.usefixtures("own_lock")


def clock_of(spans: list[float]) -> Callable[[], float]:
    """A clock on which the evaluations take the given seconds, one after another."""
    ends = np.cumsum(np.repeat(spans, 2) * np.tile([0, 1], len(spans)))
    ticks = iter(ends)
    return lambda: float(next(ticks))


def test_median_and_quartiles_are_those_of_the_clock() -> None:
    spans = [0.010, *np.linspace(0.010, 0.029, 20)]
    timing = time_calls(lambda: mx.ones(2), clock=clock_of(spans))
    assert timing.evaluations == 20
    assert timing.calls == 1
    assert timing.median_ms == pytest.approx(np.median(spans[1:]) * 1e3)
    assert timing.iqr_ms == pytest.approx(np.subtract(*np.percentile(spans[1:], [75, 25])) * 1e3)


def test_short_calls_are_batched_until_two_milliseconds() -> None:
    counter = itertools.count()

    def call() -> mx.array:
        next(counter)
        return mx.ones(2)

    timing = time_calls(call, evaluations=20, warmup=3, clock=clock_of([0.0005] + 20 * [0.002]))
    assert timing.calls == 4
    assert timing.median_ms == pytest.approx(0.5)
    assert next(counter) == 3 + 1 + 20 * 4


def test_time_grows_with_the_work_that_lazy_arrays_stand_for() -> None:
    def product(side: int) -> Callable[[], mx.array]:
        a = mx.random.normal((side, side))
        mx.eval(a)
        return lambda: (a @ a) @ (a @ a)

    # The graphs are alike: were they timed alone, both would take the same. Other tests run beside
    # this one, so that a single comparison may be disturbed.
    def ratio() -> float:
        small, large = (time_calls(product(side), evaluations=8).median_ms for side in (64, 960))
        return large / small

    assert max(ratio() for _ in range(3)) > 5


def test_drift_of_the_machine_meets_all_that_are_timed_in_turn() -> None:
    # Each is called twice a round; from round to round everything gets slower.
    rounds = np.linspace(1, 3, 9)
    spans = np.concatenate([[0.010 * r, 0.010 * r, 0.040 * r, 0.040 * r] for r in rounds])
    one = lambda: mx.ones(2)  # noqa: E731
    fast, slow = time_in_turn([one, one], rounds=9, clock=clock_of(list(spans)))
    assert fast == pytest.approx(20) and slow / fast == pytest.approx(4)


def test_what_slows_both_calls_does_not_change_their_ratio() -> None:
    # One timing of each tells how often they are called; then they take turns, ever more slowly.
    turns = [span * slow for slow in np.linspace(1, 3, 20) for span in (0.010, 0.025)]
    one = lambda: mx.ones(2)  # noqa: E731
    found = time_beside(one, one, clock=clock_of([0.010, 0.025, *turns]))
    assert found.ratio == pytest.approx(2.5) and found.ratio_iqr == pytest.approx(0)
    assert found.timing.median_ms == pytest.approx(50) and found.timing.iqr_ms > 20


def test_ratio_is_the_median_of_neighbours_not_of_medians() -> None:
    found = beside([2.0, 40.0, 6.0], [1.0, 10.0, 2.0])
    assert found.ratio == 3.0 and found.timing.median_ms == 6.0


def test_call_without_arrays_is_refused() -> None:
    with pytest.raises(ValueError, match="returned None"):
        time_calls(lambda: None)
    with pytest.raises(ValueError, match="returned None"):
        time_beside(lambda: mx.ones(2), lambda: None)


def test_device_is_held_alone_while_timing(own_lock: Path) -> None:
    code = """
import sys
from pathlib import Path
from ado_nas.measure import lock
lock.folder = lambda: Path(sys.argv[1])
with lock.shared():
    pass
"""
    seen: list[int | None] = []
    others: list[subprocess.Popen[bytes]] = []

    def call() -> mx.array:
        if not others:
            others.append(subprocess.Popen([sys.executable, "-c", code, str(own_lock)]))
        seen.append(others[0].poll())
        time.sleep(0.05)
        return mx.ones(2)

    time_calls(call, evaluations=20)
    assert others[0].wait(20) == 0
    assert set(seen) == {None}


TRAINER = """
import sys
from pathlib import Path
import ado_nas
import mlx.core as mx
from ado_nas.measure import lock
lock.folder = lambda: Path(sys.argv[1])
x = mx.random.normal((256, 256))
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(10**9 if line == "train\\n" else 0):
        with lock.shared():
            mx.eval(x @ x)
        if Path(sys.argv[2]).exists():
            break
    print("resting", flush=True)
"""


def test_latency_is_that_of_an_idle_machine_while_another_worker_trains(
    own_lock: Path, tmp_path: Path
) -> None:
    """To within 5%, as the median of several; three attempts, for machines with other guests."""
    halt = tmp_path / "halt"
    a = mx.random.normal((512, 512))
    mx.eval(a)
    command = [sys.executable, "-c", TRAINER, str(own_lock), str(halt)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as trainer:
        assert trainer.stdin is not None and trainer.stdout is not None
        assert trainer.stdout.readline() == "ready\n"

        def ratio() -> float:
            """Time beside a training worker over time alone."""
            halt.unlink(missing_ok=True)
            print("train", file=trainer.stdin, flush=True)
            time.sleep(0.05)
            beside = time_calls(lambda: a @ a).median_ms
            halt.touch()
            assert trainer.stdout is not None
            assert trainer.stdout.readline() == "resting\n"
            return beside / time_calls(lambda: a @ a).median_ms

        found = []
        for _ in range(3):
            found.append(float(np.median([ratio() for _ in range(7)])))
            if abs(found[-1] - 1) < 0.05:
                break
        trainer.stdin.close()
    assert abs(found[-1] - 1) < 0.05, found
