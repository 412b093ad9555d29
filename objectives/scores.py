"""What an evaluation comes to: plain data that crosses process borders as JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ado_nas.progress import Progress
from ado_nas.specs import Candidate, TaskSpec

Report = Callable[[int, dict[str, float]], bool]
"""Called now and then with (iterations done, scores so far); True asks it to stop."""


@dataclass(frozen=True)
class Limits:
    """What a candidate may cost and how good it must be; None or 0 is no limit."""

    max_latency_ms: float | None = None  # per image, at the task's latency batch
    max_size_mb: float | None = None
    max_memory_mb: float | None = None
    min_retention: float = 0.5
    every_resolution: bool = False  # the least retention is asked for at all that are judged


@dataclass(frozen=True)
class Outcome:
    """The end of one evaluation.

    `state` is ``complete`` (trained and scored), ``pruned`` (trained in part, or diverged, or out
    of memory: `reason` says which) or ``infeasible`` (over a limit before any training). Of an
    evaluator that does not time, what would be complete is ``trained``, without values.
    `values` are gap, latency_ms and size_mb in natural units, for ``complete`` only.
    `constraints` are those of `objectives.constraints`; names missing here count as met, but
    for training, which a pruned trial has met only where this says so.
    `attributes` are flat JSON scalars: every further figure that was measured.
    """

    state: str
    values: dict[str, float] = field(default_factory=dict)
    constraints: dict[str, float] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


class Evaluator(Protocol):
    """Scores candidates against one prepared task; opened once per worker process."""

    def __call__(
        self,
        candidate: Candidate,
        *,
        seed: int,
        folder: Path,
        limits: Limits,
        report: Report,
        rungs: Collection[int] = (),
    ) -> Outcome:
        """Evaluate one candidate and leave its model folder and sample grid in `folder`.

        After the iterations in `rungs` the scores reported are gap, retention, retention_high,
        latency_ms and size_mb.
        """

    def time(self, outcome: Outcome, *, folder: Path, limits: Limits) -> Outcome:
        """Time the model in `folder` on this device, which makes a trained outcome complete."""


class EvaluationModule(Protocol):
    """The entry points a worker process finds in the module named by its dotted path."""

    def prepare(self, task: TaskSpec, workspace: Path, progress: Progress) -> dict[str, Any]:
        """Build or load teacher, trajectories and judge; return the study's plain-JSON facts.

        Keys: ``reference`` {gap, gap_low, gap_high, floor, gaussian_gap, latency_ms,
        latency_batch1_ms, step_ms (of the yardstick), size_mb, params, macs, peak_memory_mb,
        solver, schedule, nfe; and, relative to the workspace where they lie in it, samples (a
        PNG), teacher and, where there is one, supernet (their folders)}, ``training_free``
        [{solver, schedule, nfe, gap, gap_low, gap_high, retention, latency_ms}], ``environment``
        {...}, ``digests`` {data, teacher, trajectories, features}, ``seconds`` {teacher,
        trajectories, ...}, ``task`` (the task with what only the data could tell), ``hardware``
        (fields of `ado_nas.hardware.Hardware`), ``parts`` (by name of `studies.parts.SECTIONS`,
        the folders a worker on another machine needs).
        """

    def surroundings(self) -> dict[str, Any]:
        """What a figure measured on this machine is recorded with, as ``environment`` above."""

    def open_evaluator(
        self, task: TaskSpec, workspace: Path, facts: dict[str, Any], timed: bool
    ) -> Evaluator:
        """Load what `prepare` made; without `timed`, for a device that is not the study's.

        Raises:
            StudyError: what is loaded is not what the study's facts say.
        """

    def remeasure(
        self,
        task: TaskSpec,
        workspace: Path,
        folders: list[Path],
        progress: Progress,
        facts: Mapping[str, Any],
    ) -> list[dict[str, Any]]:
        """Score model folders on other noise and the other half of the held-out images.

        Latencies are by the reference of the study's facts, as those of its trials are. One entry
        a folder: gap, gap_low, gap_high, retention, retention_low, retention_high,
        latency_ms, repeated, speedup, speedup_training_free (unless the teacher keeps less at
        every setting); the reference is scored alike.

        Raises:
            StudyError: what is loaded is not what the study's facts say.
        """
