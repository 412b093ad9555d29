"""Signs of life of workers that cannot be seen: a counter in the trial that has to move."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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

    gap: float = GAP_SECONDS
    _seen: dict[Hashable, tuple[object, float]] = field(default_factory=dict)
    _met: set[Hashable] = field(default_factory=set)
    _looked: float = -math.inf
    _first: bool = True

    def look(self) -> None:
        """Begin a look at all of them; after a gap between looks all are met anew."""
        now = time.monotonic()
        self._first = now - self._looked > self.gap
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
        return self.still(trial.number, trial.user_attrs)

    def still(self, key: Hashable, told: Mapping[str, Any]) -> bool:
        """As `silent`, of anything that has a worker and its counter.

        Args:
            key: tells it apart.
            told: ``worker`` and its count, as they stand.
        """
        sign = str(told.get("worker", "")), int(told.get(BEAT, 0))
        last, since = self._seen.get(key, (None, self._looked))
        if sign != last:
            self._seen[key] = sign, self._looked
            if not self._first:
                self._met.add(key)
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
