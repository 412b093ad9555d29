"""One attempt at a student: trained, judged by the gate, and kept."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from ado_nas.bench import Bench
from ado_nas.device import timed_on
from ado_nas.distillation.course import Course, follow
from ado_nas.distillation.matching import matched
from ado_nas.distillation.methods import course_by, learning
from ado_nas.errors import Diverged
from ado_nas.files import building, read_json, write_json
from ado_nas.images import save_grid
from ado_nas.measure.cost import cost
from ado_nas.measure.speed import sampling_figures
from ado_nas.modelfolder import Model, load_model, save_model
from ado_nas.models.inherit import inherit
from ado_nas.models.unet import UNet, build_unet
from ado_nas.optimization import OptimizationSpec
from ado_nas.progress import Progress
from ado_nas.quality.figures import compared, figures
from ado_nas.quality.gate import Verdict, failed, verdict
from ado_nas.quality.intervals import Replicates
from ado_nas.quality.judge import Quality
from ado_nas.reference import pictured, yardstick
from ado_nas.specs import DistillationSpec, SamplerSpec, UNetSpec, digest, to_dict
from ado_nas.training.budget import accounting
from ado_nas.training.resumable import CHECKPOINT

SCHEMA = 2  # raise it when training or judging changes
RESULT = "result.json"


@dataclass(frozen=True)
class Attempt:
    """What is to be trained, from what, for how long."""

    unet: UNetSpec
    steps: int
    method: str  # anchored, chained or consistency
    iterations: int
    parent: str = ""  # key of the student it starts from; empty for the teacher


@dataclass(frozen=True)
class Result:
    """A finished attempt: the gate's verdict, its figures, and where the student lies."""

    key: str
    attempt: Attempt
    verdict: Verdict
    figures: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None  # None where the training diverged


@dataclass(frozen=True, eq=False)
class Shop:
    """Where attempts are made: the bench, the reference on each noise set, a folder for all."""

    bench: Bench
    spec: OptimizationSpec
    references: list[dict[str, Any]]
    folder: Path
    progress: Progress

    def __call__(self, attempt: Attempt) -> Result:
        """Make an attempt, or return it where it was made before.

        Args:
            attempt: its parent was made here.

        Returns:
            The result; the training goes on from its last checkpoint where it was interrupted.
        """
        key = self.key(attempt)
        with building(self.folder / key) as folder:
            found = read_json(folder / RESULT)
            if found is None:
                found = self._made(attempt, folder)
                write_json(folder / RESULT, found)
                (folder / CHECKPOINT).unlink(missing_ok=True)
        threshold = self.spec.quality_threshold
        if reason := found.get("diverged"):
            return Result(key, attempt, failed(threshold, reason))
        told = verdict(self.references, found["qualities"], threshold)
        # Beside the reference as it is now; when the student was trained it may have been another.
        kept = compared(self.references[0], _quality(found["qualities"][0]))
        told_figures = {**found["figures"], **kept, **self._speed(folder)}
        return Result(key, attempt, told, told_figures, folder)

    def key(self, attempt: Attempt) -> str:
        """What an attempt depends on, as the name of its folder."""
        task, spec = self.bench.task, self.spec
        made = self._training(attempt), spec.seed, task.trajectories
        judged = spec.noise_sets, task.quality
        return digest("attempt", SCHEMA, attempt, self.bench.digests, *made, *judged)

    def _speed(self, folder: Path) -> dict[str, Any]:
        """Latency and memory of the student in a folder, measured once by the reference's time."""
        batch, reference = self.bench.task.latency_batch, self.references[0]
        path = folder / f"speed-{digest(batch, timed_on(), reference.get('step_ms'))}.json"
        found = read_json(path)
        if found is None:
            yard = yardstick(self.bench, reference)
            found = sampling_figures(load_model(folder), batch, yard)
            write_json(path, found)
        assert isinstance(found, dict)
        return found

    def _made(self, attempt: Attempt, folder: Path) -> dict[str, Any]:
        bench = self.bench
        parent = load_model(self.folder / attempt.parent) if attempt.parent else bench.teacher
        unet = build_unet(attempt.unet, self.spec.seed)
        inherit(unet, parent.unet)
        course = self._course(attempt, parent)
        training = self._training(attempt)
        size = cost(attempt.unet).size_mb
        name = f"{attempt.steps} steps, {size:.3g} MB, {training.iterations} iterations"
        schedule = "dp"
        if attempt.method == "chained":  # some of the levels of what it imitates
            schedule = parent.sampler.schedule if attempt.parent else "karras"
        sampler = SamplerSpec(course.solver, schedule, attempt.steps)
        try:
            with accounting(bench.task.memory_budget_mb) as memory:
                seconds = follow(unet, course, training, folder, name, self.progress)
            qualities, found = self._judged(unet, sampler, course, name, folder)
        except Diverged as error:
            return {"attempt": to_dict(attempt), "diverged": str(error)}
        found["training_s"] = round(seconds, 2)
        card = {
            "kind": "student",
            "attempt": to_dict(attempt),
            "training": to_dict(training),
            "seed": self.spec.seed,
            "digests": bench.digests,
            "figures": found,
            "memory": memory.facts(),
        }
        save_model(folder, unet, sampler, course.levels, card)
        return {"attempt": to_dict(attempt), "qualities": qualities, "figures": found}

    def _training(self, attempt: Attempt) -> DistillationSpec:
        return learning(attempt.method, self.spec.training, attempt.iterations)

    def _course(self, attempt: Attempt, parent: Model) -> Course:
        levels, batch = parent.levels if attempt.parent else None, self.spec.training.batch
        made = course_by(
            attempt.method,
            self.bench,
            attempt.steps,
            parent.unet,
            levels,
            batch,
            self.spec.seed,
        )
        return matched(made, self.bench.teacher.unet, self.spec.training.feature_weight)

    def _judged(
        self, unet: UNet, sampler: SamplerSpec, course: Course, name: str, folder: Path
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        bench, levels = self.bench, course.levels
        qualities = []
        for k in range(self.spec.noise_sets):
            seed = bench.task.quality.noise_seed + k
            images = pictured(bench, unet, sampler, levels, seed)
            qualities.append(bench.judge.score(images))
            self.progress(f"judging {name}", k + 1, self.spec.noise_sets)
            if k == 0:
                save_grid(folder / "samples.png", images)
        measured = {
            **figures(qualities[0]),
            **compared(self.references[0], qualities[0]),
            **cost(unet.spec).figures,
        }
        mx.clear_cache()
        return [dataclasses.asdict(q) for q in qualities], measured


def _quality(values: dict[str, Any]) -> Quality:
    """A judgment as it was before it was written down."""
    return Quality(**{**values, "replicates": Replicates(**values["replicates"])})
