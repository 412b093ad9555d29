"""Who keeps the workers: starts them, hears them, replaces the dead and stops the rest."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ado_nas.errors import ArtifactError, ProcessDied, StudyError
from ado_nas.progress import Progress
from ado_nas.runtime import core_share, default_workers
from studies.heartbeat import Watch
from studies.ledger import standing
from studies.liveness import excuse
from studies.processes import GRACE_SECONDS, Child, Event, reraise, wait
from studies.requeue import requeue_crashed, requeue_stale
from studies.session import Session
from studies.worker import Ended, run_worker

FAILURES = 3  # trials in a row that a bug may break before the search stops
DEATHS = 6  # of workers in a row, without a trial that one ends: three candidates at least
STALE_SECONDS = 5.0  # between looks for trials whose worker, of whatever search, has died


@dataclass
class Member:
    """A worker process as its supervisor knows it."""

    index: int
    child: Child
    name: str = ""  # sent by the worker; empty until it has
    told: str = ""  # the last order


@dataclass
class Crew:
    """The workers of one run and what they have reported."""

    session: Session
    progress: Progress
    timed: bool = True
    first: int = 0  # number of the first worker
    members: list[Member] = field(default_factory=list)
    deaths: int = 0
    trace: str = ""
    news: bool = False  # whether a trial ended since the last look
    ended: Counter[str] = field(default_factory=Counter)  # trials, by state

    def start(self, index: int) -> None:
        """Start a worker."""
        own = self.session
        child = Child(run_worker, own.config, own.workspace, index, own.joined, self.timed)
        self.members.append(Member(index, child))

    def order(self, word: str) -> None:
        """Tell all workers to ``finish`` or to ``stop``, each once."""
        for member in self.members:
            if member.told != word:
                member.told = word
                member.child.order(word)

    def listen(self) -> None:
        """Take in what the workers say; replace those that died or have done their share.

        Raises:
            AdoNasError: what a worker raised.
            ProcessDied: too many died in a row.
            RuntimeError: a worker broke, or too many trials failed in a row.
        """
        wait([m.child for m in self.members])
        for member in list(self.members):
            running = member.child.alive()  # first, so that the last words are not missed
            heard = [self._hear(member, event) for event in member.child.events()]
            last = heard[-1] if heard else None
            if last is not None or not running:
                self.members.remove(member)
                member.child.process.join(GRACE_SECONDS)
                code = member.child.process.exitcode
                member.child.close()
                if last:
                    self._replace(member)
                elif last is None:
                    self._bury(member, f"its process died with exit code {code}")

    def stop(self) -> None:
        """Give the workers a moment to put their trials back; `close` kills who is left."""
        self.order("stop")
        until = time.monotonic() + GRACE_SECONDS
        while any(m.child.alive() for m in self.members) and time.monotonic() < until:
            wait([m.child for m in self.members])
            for member in self.members:
                list(member.child.events())

    def close(self) -> None:
        """End all workers now; that is no fault of what they were at."""
        for member in self.members:
            named = [event[1] for event in member.child.events() if event[0] == "worker"]
            member.child.close()
            for name in filter(None, [member.name, *named]):
                excuse(name)
        self.members.clear()

    def _hear(self, member: Member, event: Event) -> bool | None:
        """Take in one event; of the last one of a worker, whether another is to go on."""
        if event[0] == "worker":
            member.name = event[1]
        elif event[0] == "trial":
            self._note(event[1])
        elif event[0] == "error":
            reraise(event)
        return bool(event[1]) if event[0] == "result" else None

    def _replace(self, member: Member) -> None:
        if not member.told:
            self.start(member.index)

    def _note(self, ended: Ended) -> None:
        self.deaths, self.news = 0, True
        self.ended[ended.state] += 1
        now = standing(self.session.trials())
        self.progress("trials", now.trained, self.session.config.trials, describe(ended))
        if ended.trace and now.failed >= FAILURES:
            raise RuntimeError(
                f"{now.failed} trials in a row failed, the last with:\n{ended.trace}"
            )

    def _bury(self, member: Member, cause: str) -> None:
        self.news = True
        numbers = requeue_crashed(self.session, member.name, cause) if member.name else []
        now = standing(self.session.trials())
        lost = f"worker {member.index - self.first + 1}, trial {numbers or 'none'}: {cause}"
        self.progress("trials", now.trained, self.session.config.trials, lost)
        self._succeed(member, lost, now.failed)

    def _succeed(self, member: Member, lost: str, failed: int = 0) -> None:
        """Start another worker for one that died, unless too many did."""
        self.deaths += 1
        if self.deaths >= DEATHS or failed >= FAILURES:
            raise ProcessDied(
                f"workers keep dying; {lost}; if memory runs out, fewer --workers may help, or "
                "another study with a smaller --memory-budget-mb; the same command goes on from "
                "here"
            )
        self.start(member.index)


def supervise(
    session: Session,
    progress: Progress,
    after: Callable[[], None],
    timed: bool = True,
    first: int = 0,
) -> Counter[str]:
    """Run the workers until the study wants no more.

    Args:
        session: prepared.
        progress: gets ``trials``, how many trained of how many, and a note on each.
        after: called in between when trials have ended, here or elsewhere.
        timed: whether this is the study's own device.
        first: number of the first worker; those of other machines draw by others.

    Returns:
        How many trials these workers ended, by state.

    Raises:
        AdoNasError: what a worker raised, or too many died.
        KeyboardInterrupt: after the workers have stopped; a second one kills them.
        RuntimeError: a bug stopped the search.
    """
    crew, watch = Crew(session, progress, timed, first), Watch()
    limit = session.config.timeout_s
    until = time.monotonic() + limit if limit else float("inf")
    look = time.monotonic() + STALE_SECONDS
    now = standing(session.trials())
    progress("trials", now.trained, session.config.trials)
    count = min(session.config.workers or default_workers(), session.config.trials)
    try:
        with core_share(count):
            for index in range(count):
                crew.start(first + index)
            while crew.members:
                crew.listen()
                if crew.news:
                    crew.news = False
                    after()
                if time.monotonic() > look:
                    # One of a killed search may have died only now; its trial would be waited for.
                    requeue_stale(session, watch)
                    crew.news = True  # other machines may have ended trials
                    look = time.monotonic() + STALE_SECONDS
                if time.monotonic() > until:
                    crew.order("finish")
    except KeyboardInterrupt:
        crew.stop()
        raise
    finally:
        crew.close()
        _put_back(session, sys.exception())
    return crew.ended


def _put_back(session: Session, error: BaseException | None) -> None:
    """Put back what the workers left, whatever ended them; else others wait for its silence."""
    if error is None:
        requeue_stale(session)
    elif isinstance(error, ArtifactError) or not isinstance(error, StudyError):
        # The storage may be gone or full, too: the next start does it.
        with contextlib.suppress(Exception):
            requeue_stale(session)


def describe(ended: Ended) -> str:
    """One short phrase on a trial that has ended."""
    text = f"trial {ended.number} {ended.state}"
    if ended.state == "complete":
        v = ended.values
        text += f": gap {v['gap']:.3g}, {v['latency_ms']:.3g} ms, {v['size_mb']:.3g} MB"
    return f"{text}: {ended.reason}" if ended.reason else text
