"""The facade: a few classes over the parts, for those who want one call."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ado_nas.bench import Bench, open_bench, task_of
from ado_nas.distillation.attempts import Result, Shop
from ado_nas.distillation.optimize import Optimized, check, optimize, planned
from ado_nas.distillation.progressive import Decision, attempt
from ado_nas.distillation.tradeoff import tradeoff
from ado_nas.errors import ConfigError, Diverged, ModelError
from ado_nas.measure.cost import cost
from ado_nas.modelfolder import Model, load_model
from ado_nas.models.inherit import inherit
from ado_nas.models.unet import build_unet
from ado_nas.optimization import OptimizationSpec
from ado_nas.progress import Progress, silent
from ado_nas.reference import measure_reference, reference_qualities
from ado_nas.runtime import metal_limits
from ado_nas.specs import (
    SamplerSpec,
    TaskSpec,
)


def workspace_folder() -> Path:
    """The folder that commands use by default."""
    return Path(os.environ.get("ADO_WORKSPACE", "ado-runs"))


@dataclass(frozen=True)
class DiffusionOptimizationConfig:
    """What `AdaptiveDiffusionOptimizer` is told."""

    model_path: str  # a model folder, whose card names its data
    # Where given, in place of what `optimization` says.
    optimization_stages: int | None = None  # of steps; 0 for as many as are needed
    target_steps: int | None = None
    quality_threshold: float | None = None
    # Bounds MLX's wired memory and buffer cache while it runs; of no effect off Metal.
    apple_silicon_optimization: bool = True
    workspace: Path = field(default_factory=workspace_folder)
    # Over what the card says: the data, the trajectories, the measure of quality.
    task: TaskSpec | None = None
    # The rest of the goal: method, compression, training. By default three stages to four steps.
    optimization: OptimizationSpec = field(default_factory=lambda: OptimizationSpec(stage_count=3))


@dataclass(frozen=True)
class OptimizationMetrics:
    """What an optimization came to; see `Optimized` for all of it."""

    original_steps: int
    optimized_steps: int
    quality_score: float  # retention
    inference_speedup: float
    memory_reduction: float  # share of the reference's peak that is saved


@dataclass
class DistillationStage:
    """One stage: a teacher of `input_steps` and a student of `output_steps`."""

    stage_number: int
    input_steps: int
    output_steps: int
    teacher_model: Model
    student_model: Model


class AdaptiveDiffusionOptimizer:
    """Plans, distills, gates and exports one model."""

    def __init__(self, config: DiffusionOptimizationConfig, progress: Progress = silent):
        """Check the model and the goal.

        Args:
            config: what is wanted.
            progress: told about each part.

        Raises:
            ModelError: the model cannot be read, or does not name its data.
            ConfigError: the goal cannot be asked for.
        """
        self.config = config
        self._progress = progress
        model = load_model(Path(config.model_path))
        self._task = config.task or task_of(model)
        self._task = dataclasses.replace(self._task, teacher_folder=config.model_path)
        given = {
            "target_steps": config.target_steps,
            "quality_threshold": config.quality_threshold,
            "stage_count": config.optimization_stages,
        }
        changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        self._spec = dataclasses.replace(config.optimization, **changes)
        check(self._task, self._spec)

    def optimize_diffusion_model(self) -> OptimizationMetrics:
        """Run to the end, or open the result of an earlier run.

        Returns:
            The metrics of the last student that passed the gate.
        """
        found = self.optimized()
        names = [f.name for f in dataclasses.fields(OptimizationMetrics)]
        return OptimizationMetrics(**{name: getattr(found, name) for name in names})

    def progressive_distillation(self) -> list[DistillationStage]:
        """The stages that passed, with the models before and after each.

        Returns:
            The stages in order.
        """
        found = self.optimized()
        before = load_model(Path(self.config.model_path))
        stages: list[DistillationStage] = []
        for row in found.stages:
            if row["passed"]:
                after = load_model(self.config.workspace / "optimized" / "attempts" / row["key"])
                steps = row["input_steps"], row["output_steps"]
                stages.append(DistillationStage(len(stages) + 1, *steps, before, after))
                before = after
        return stages

    def optimized(self) -> Optimized:
        """All that was found, with the folder of the exported model."""
        bounded = self.config.apple_silicon_optimization
        with metal_limits() if bounded else contextlib.nullcontext():
            return optimize(self._task, self._spec, self.config.workspace, self._progress)


class ProgressiveDistillation:
    """Stages one at a time, for those who want to look at each."""

    def __init__(
        self,
        teacher_model: Model | str | Path | None = None,
        compression_stages: int = 4,
        optimization: OptimizationSpec | None = None,
        workspace: Path | None = None,
        progress: Progress = silent,
    ):
        """Remember what to distill.

        Args:
            teacher_model: a model or its folder; may be given with the first stage instead.
            compression_stages: stages to plan; 0 for as many as are needed.
            optimization: the gate's and the training's settings.
            workspace: of caches and attempts; by default ``ADO_WORKSPACE`` or ``ado-runs``.
            progress: told about each part.
        """
        self.compression_stages = compression_stages
        self.stages: list[DistillationStage] = []
        self._teacher = teacher_model
        self._spec = optimization or OptimizationSpec()
        self._workspace = workspace or workspace_folder()
        self._progress = progress
        self._bench: Bench | None = None
        self._shop: Shop | None = None
        self._decisions: list[Decision] = []

    def create_distillation_stages(
        self, teacher_model: Model | str | Path | None = None, target_steps: int = 4
    ) -> list[DistillationStage]:
        """Plan the stages; each student begins as a copy of the teacher.

        Args:
            teacher_model: a model or its folder; the one given before where left out.
            target_steps: network evaluations after the last stage.

        Returns:
            The stages in order, nothing trained yet.

        Raises:
            ModelError: there is no teacher, or it cannot be read.
            SpecError: the target cannot be planned for.
        """
        if teacher_model:
            if self._teacher and _folder(teacher_model) != _folder(self._teacher):
                self._bench, self._shop, self._decisions = None, None, []
            self._teacher = teacher_model
        spec = dataclasses.replace(
            self._spec, target_steps=target_steps, stage_count=self.compression_stages
        )
        bench = self._opened()
        self.stages = [
            DistillationStage(i + 1, before, after, bench.teacher, self._begun(bench, after))
            for i, (before, after) in enumerate(planned(bench, spec).pairs)
        ]
        return self.stages

    def distill_stage(
        self, teacher: Model, student: Model, stage_config: DistillationStage
    ) -> Model:
        """Train one stage and judge it by the gate.

        Args:
            teacher: where the student's first weights come from: the original teacher, or the
                student of an earlier stage of this object.
            student: says the architecture.
            stage_config: says the steps.

        Returns:
            The trained student; `stage_config` holds it too. Whether it passed the gate, the
            trade-off says.

        Raises:
            Diverged: the training did.
        """
        shop = self._opened_shop()
        steps = stage_config.output_steps
        parent = "" if teacher.card.get("kind") != "student" else Path(str(teacher.folder)).name
        found = shop(attempt(student.unet.spec, steps, parent, self._spec))
        if found.folder is None:
            raise Diverged(found.verdict.reason)
        size = cost(teacher.unet.spec).size_mb
        self._decisions.append(_decided(stage_config, found, size))
        trained = load_model(found.folder)
        stage_config.teacher_model, stage_config.student_model = teacher, trained
        return trained

    def analyze_quality_tradeoff(self) -> dict[str, Any]:
        """Quality against steps, size and latency of what was distilled so far.

        Returns:
            As `distillation.tradeoff.tradeoff`: the reference, the training-free points and the
            students as ``rows``, with intervals.

        Raises:
            ConfigError: nothing was distilled yet.
        """
        if not self._decisions:
            raise ConfigError("nothing was distilled yet; call distill_stage first")
        shop, results = self._opened_shop(), [d.result for d in self._decisions]
        passed = [r for r in results if r.verdict.passed]
        best = passed[-1] if passed else max(results, key=lambda r: r.verdict.retention)
        steps = results[-1].attempt.steps
        spec = dataclasses.replace(self._spec, target_steps=steps, stages=())
        facts = measure_reference(shop.bench, self._workspace, self._progress)
        place = self._workspace / "optimized" / "by-hand"
        chosen = planned(shop.bench, spec)
        return tradeoff(shop.bench, spec, facts, chosen, self._decisions, best, place)

    def _opened(self) -> Bench:
        if self._bench is None:
            if self._teacher is None:
                raise ModelError("no teacher: give a model or its folder as teacher_model")
            model = self._teacher
            model = model if isinstance(model, Model) else load_model(Path(model))
            self._bench = open_bench(task_of(model), self._workspace, self._progress)
        return self._bench

    def _opened_shop(self) -> Shop:
        if self._shop is None:
            bench = self._opened()
            facts = measure_reference(bench, self._workspace, self._progress)
            references = reference_qualities(
                bench, self._workspace, facts, self._spec.noise_sets, self._progress
            )
            place = self._workspace / "optimized" / "attempts"
            self._shop = Shop(bench, self._spec, references, place, self._progress)
        return self._shop

    def _begun(self, bench: Bench, steps: int) -> Model:
        unet = build_unet(bench.teacher.unet.spec, self._spec.seed)
        inherit(unet, bench.teacher.unet)
        levels = bench.bank.levels[bench.bank.schedule("dp", steps)]
        return Model(unet, SamplerSpec("ddim", "dp", steps), levels, {})


def _folder(teacher: Model | str | Path) -> Path | None:
    return teacher.folder if isinstance(teacher, Model) else Path(teacher)


def _decided(stage: DistillationStage, found: Result, size: float) -> Decision:
    action = "passed" if found.verdict.passed else "stopped"
    return Decision(stage.stage_number, "steps", stage.input_steps, size, found, action)
