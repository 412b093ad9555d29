"""Signs of life of workers that cannot be seen: a counter in the trial that has to move."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from studies.storage import Store

BEAT = "beat"  # the attribute that holds the counter
BEAT_SECONDS = 15.0
SILENCE_SECONDS = 120.0  # after which a worker of another machine counts as dead
GAP_SECONDS = 4 * BEAT_SECONDS  # without a look: the storage may have been away for all

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def beating(store: Store, trial_id: int) -> Iterator[None]:
    """Count in a running trial for as long as this block lasts."""
    with counting(store, lambda n: store.storage.set_trial_user_attr(trial_id, BEAT, n)):
        yield


@contextlib.contextmanager
def counting(store: Store, write: Callable[[int], None]) -> Iterator[None]:
    """Have a rising count written now and then, by another thread, while this block lasts."""
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(store, write, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass
class Watch:
    """What one observer has seen of others' counters.

    It goes by its own steady clock: no machine's time of day matters, nor that they differ. What
    nobody could have written, because the storage was away, is not held against anyone.
    """

    _seen: dict[int, tuple[tuple[str, int], float]] = field(default_factory=dict)
    _met: set[int] = field(default_factory=set)
    _looked: float = -math.inf
    _first: bool = True

    def look(self) -> None:
        """Begin a look at all trials; after a gap between looks all are met anew."""
        now = time.monotonic()
        self._first = now - self._looked > GAP_SECONDS
        self._looked = now
        if self._first:
            self._seen.clear()
            self._met.clear()

    def silent(self, trial: FrozenTrial) -> bool:
        """Whether a running trial has given no sign of life for too long.

        Args:
            trial: as it stands.

        Returns:
            False at first sight; True after `SILENCE_SECONDS` without a change.
        """
        sign = str(trial.user_attrs.get("worker", "")), int(trial.user_attrs.get(BEAT, 0))
        last, since = self._seen.get(trial.number, (None, self._looked))
        if sign != last:
            self._seen[trial.number] = sign, self._looked
            if not self._first:
                self._met.add(trial.number)
            return False
        return self._looked - since > SILENCE_SECONDS

    def met(self, trial: FrozenTrial) -> bool:
        """Whether it was seen to start, or to give a sign of life, since when nobody was away."""
        return trial.number in self._met


def _beat(store: Store, write: Callable[[int], None], ended: threading.Event) -> None:
    count = 0
    try:
        while not ended.wait(BEAT_SECONDS):
            count += 1
            write(count)
    except Exception as error:
        # The trial was put back, or the storage is gone: its owner will find out.
        _log.info("no more signs of life: %s", error)
    finally:
        store.leave()
