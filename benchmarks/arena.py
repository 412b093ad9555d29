"""Where the searches of a benchmark run, on one teacher, each kept when it has ended."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ado_nas.distillation.trajectories import META
from ado_nas.errors import NegativeVerdict
from ado_nas.files import read_json, write_json
from ado_nas.progress import Progress
from ado_nas.specs import TaskSpec, digest, from_dict
from benchmarks.judging import judged
from benchmarks.plainloop import Plan, run_plain
from benchmarks.verdicts import curve, working
from search_spaces.space import Space
from studies.axes import Point, reference_point
from studies.config import SearchConfig
from studies.evaluation import run_preparation
from studies.folders import open_workspace
from studies.processes import call
from studies.record import StudyRecord, load
from studies.search import search
from studies.session import fitting

SCHEMA = 1  # raise it when searches come to other results

End = tuple[float, str]
"""When a trial ended, in seconds since 1970, and its model folder, empty where it was pruned."""


@dataclass(frozen=True)
class Arena:
    """A prepared task."""

    config: SearchConfig
    workspace: Path
    place: Path  # of what is kept
    facts: dict[str, Any]
    corner: Point
    progress: Progress

    @property
    def task(self) -> TaskSpec:
        """The task, with what only the data could tell."""
        return from_dict(TaskSpec, self.facts.get("task", {}), self.config.task)

    @property
    def trajectories(self) -> float:
        """Seconds that drawing them took."""
        return float(read_json(Path(self.facts["parts"]["trajectories"]) / META)["seconds"])

    def searched(self, kind: str, config: SearchConfig, trajectories: bool) -> dict[str, Any]:
        """Search, or go on with a search that was stopped, or give one that has ended.

        Args:
            kind: its name among those of its seed.
            config: study, storage and artifacts are set here.
            trajectories: whether it needs them, so that their time counts.

        Returns:
            kind, seed, seconds, trials, scored, hypervolume and curve.
        """
        own = dataclasses.replace(
            config,
            study=f"{self.place.name}-{_name(kind, config.seed)}",
            storage=f"sqlite:///{self.place / 'studies.db'}",
            artifacts=str(self.place / "artifacts"),
        )
        before = self.trajectories if trajectories else 0.0
        return self._kept(kind, own.seed, before, lambda: self._ends(own))

    def plain(self, seed: int, trials: int, iterations: int) -> dict[str, Any]:
        """The plain loop, likewise.

        Args:
            seed: of draws, fresh weights and batches.
            trials: how many are scored.
            iterations: of each training.
        """
        plan = Plan(
            dataclasses.replace(self.task, inherit=False),
            closed(fitting(self.config.space, self.facts)[0]),
            dataclasses.replace(self.config.distillation, iterations=iterations),
            trials,
            seed,
        )
        about = plan, self.workspace, self.place / f"plain-{seed}"
        return self._kept(
            "plain", seed, 0.0, lambda: call(run_plain, *about, progress=self.progress)
        )

    def _ends(self, config: SearchConfig) -> list[End]:
        with contextlib.suppress(NegativeVerdict):  # nothing was good enough: that is a result
            search(config, self.workspace, self.progress)
        return ends(load(config.storage, config.study, self.workspace))

    def _kept(
        self, kind: str, seed: int, before: float, go: Callable[[], list[End]]
    ) -> dict[str, Any]:
        kept = self.place / f"{_name(kind, seed)}.json"
        found = read_json(kept)
        if found is None:
            starts = _begun(self.place / f"{_name(kind, seed)}-starts.json")
            found = {"kind": kind, "seed": seed, **self._result(starts, go(), before)}
            write_json(kept, found)
        return dict(found)

    def _result(self, starts: list[float], found: list[End], before: float) -> dict[str, Any]:
        times = [before + s for s in working(starts, [end for end, _ in found])]
        scored = [(s, Path(f)) for s, (_, f) in zip(times, found, strict=True) if f]
        folders = [folder for _, folder in scored]
        models = self._judged(folders)["models"]
        pairs = [(s, m) for (s, _), m in zip(scored, models, strict=True) if m]
        floor = self.facts["reference"]["floor"]
        points = curve([s for s, _ in pairs], [m for _, m in pairs], floor, self.corner)
        return {
            "seconds": round(max(times, default=before), 1),
            "trials": len(found),
            "scored": len(points),
            "hypervolume": points[-1][1] if points else 0.0,
            "curve": points,
        }

    def _judged(self, folders: list[Path]) -> dict[str, Any]:
        about = self.task, self.workspace, folders, self.place / "latencies"
        found: dict[str, Any] = call(judged, *about, progress=self.progress)
        return found


def opened(
    name: str, config: SearchConfig, about: object, workspace: Path, progress: Progress
) -> Arena:
    """Prepare a task.

    Args:
        name: of the benchmark.
        config: of all searches.
        about: what else their results depend on.
        workspace: its cache keeps what is prepared.
        progress: told by the preparation.

    Returns:
        The arena; the corner is the teacher's, judged as the students will be.
    """
    workspace = open_workspace(workspace)
    facts = call(run_preparation, config.evaluator, config.task, workspace, progress=progress)
    key = digest(name, SCHEMA, config, about, facts["digests"])
    place = workspace / "benchmarks" / name / key
    bare = Arena(config, workspace, place, facts, (0.0, 0.0, 0.0), progress)
    kept = place / "reference.json"
    reference = read_json(kept)
    if reference is None:
        names = "floor", "latency_ms", "size_mb"
        reference = {n: facts["reference"][n] for n in names}
        reference["gap"] = bare._judged([])["reference_gap"]
        write_json(kept, reference)
    corner = reference_point(reference, config.limits.min_retention)
    return dataclasses.replace(bare, corner=corner)


def closed(space: Space) -> Space:
    """The space without levels that only trajectories tell; its anchors take others instead."""
    texts = (" ".join(w for w in a.split() if w != "schedule=dp") for a in space.anchors)
    return dataclasses.replace(space, schedule=("karras",), anchors=tuple(dict.fromkeys(texts)))


def ends(record: StudyRecord) -> list[End]:
    """When the trials of a study ended that trained."""
    return [
        (
            datetime.fromisoformat(t.started).timestamp() + t.seconds,
            t.folder if t.state == "complete" else "",
        )
        for t in record.trials
        if t.state in ("complete", "pruned")
    ]


def _begun(path: Path) -> list[float]:
    """The moments at which a search was begun, now among them."""
    starts = [*(read_json(path) or []), time.time()]
    write_json(path, starts)
    return starts


def _name(kind: str, seed: int) -> str:
    return f"{kind.replace(' ', '-')}-{seed}"
