"""The facade of adaptive sampling: a schedule by content, or for a machine, in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ado_nas.adaptive.complexity import STATISTICS
from ado_nas.adaptive.content import check_statistics, learn_content
from ado_nas.adaptive.finding import schedule_model
from ado_nas.adaptive.goal import ScheduleGoal, opened
from ado_nas.adaptive.recipe import SCHEDULE
from ado_nas.adaptive.scheduler import AdaptiveScheduler
from ado_nas.device import environment
from ado_nas.errors import ConfigError, ModelError
from ado_nas.files import check_place
from ado_nas.modelfolder import Model, load_model
from ado_nas.optimizer import workspace_folder
from ado_nas.progress import Progress, silent


class AdaptiveSamplingOptimizer:
    """Learns how a model is best sampled: by what is in an image, and on this machine."""

    def __init__(
        self,
        base_steps: int = 50,
        model: Model | str | Path | None = None,
        goal: ScheduleGoal | None = None,
        workspace: Path | None = None,
        progress: Progress = silent,
    ):
        """Remember what to sample.

        Args:
            base_steps: network evaluations of the reference that quality is kept of: the model's
                own sampler with so many.
            model: a teacher, or its folder, whose card names its data.
            goal: solvers and evaluations to compare.
            workspace: of caches; by default ``ADO_WORKSPACE`` or ``ado-runs``.
            progress: told about each part.

        Raises:
            ConfigError: base_steps is below 1.
        """
        self.base_steps = base_steps
        self._model = model
        self._goal = dataclasses.replace(goal or ScheduleGoal(), reference_nfe=base_steps)
        self._workspace = workspace or workspace_folder()
        self._progress = progress

    def learn_schedule(
        self,
        content_features: Sequence[str] = STATISTICS,
        mean_steps: float = 4.5,
        solver: str = "ipndm_3",
    ) -> AdaptiveScheduler:
        """Learn to give each image the evaluations that its content asks for.

        Args:
            content_features: what the rule may look at after two evaluations: curvature, change,
                spread, roughness; with none, all images get the same.
            mean_steps: evaluations that may be spent on average, 3 to 8.
            solver: of one evaluation a step.

        Returns:
            The scheduler, which samples and can be saved.

        Raises:
            ConfigError: an unknown feature, or a mean out of range.
            ModelError: there is no model, or it cannot be scheduled.
        """
        check_statistics(content_features)
        goal = dataclasses.replace(
            self._goal, solvers=(solver,), mean_nfe=mean_steps, latency_ms=None
        )
        found = opened(self._opened(), goal, self._workspace, self._progress)
        return learn_content(
            found.bench,
            found.bank,
            solver,
            mean_steps,
            statistics=content_features,
            refinement=self._goal.refinement,
            progress=self._progress,
        )

    def optimize_noise_schedule(
        self, hardware_type: str = "this", latency_ms: float | None = None
    ) -> dict[str, Any]:
        """Learn and choose solver, levels, evaluations and batch, timed on this machine.

        Args:
            hardware_type: ``this``, or this device's own name; times are measured, so that no
                other machine can be tuned from here.
            latency_ms: that an image may take, within which the most quality is kept; None for
                the goal's. With neither, what takes least time is chosen among all that keep 0.95
                of the reference's quality.

        Returns:
            As `adaptive.finding.schedule_model`; the schedule is saved with the model.

        Raises:
            ConfigError: the hardware is another one, or the latency is no time.
            ModelError: there is no model, or it cannot be scheduled.
            NegativeVerdict: nothing meets the latency.
        """
        around = environment()
        known = ("this", around["device"], around["kind"])
        if hardware_type not in known:
            raise ConfigError(
                f"hardware_type {hardware_type!r} cannot be timed here; this is "
                f"{around['device']} ({around['kind']}); run it on the other machine"
            )
        wanted = self._goal.latency_ms if latency_ms is None else latency_ms
        goal = dataclasses.replace(self._goal, latency_ms=wanted, fastest=wanted is None)
        model = self._opened()
        if model.folder is not None:
            check_place("schedule file", model.folder / SCHEDULE)
        return schedule_model(model, goal, self._workspace, progress=self._progress)

    def _opened(self) -> Model:
        if self._model is None:
            raise ModelError("no model: give a teacher or its folder as model")
        model = self._model
        return model if isinstance(model, Model) else load_model(Path(model))
