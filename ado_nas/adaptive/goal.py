"""What is asked of a schedule, and where it is learned and judged."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from ado_nas.adaptive.comparison import Comparison, comparison
from ado_nas.adaptive.content import COUNTS
from ado_nas.adaptive.learning import FINE, fine
from ado_nas.adaptive.recipe import SOLVERS
from ado_nas.adaptive.refine import Refinement
from ado_nas.adaptive.tuning import converted
from ado_nas.bench import task_of
from ado_nas.diffusion.solvers import RULE
from ado_nas.errors import ConfigError, ModelError, nearest
from ado_nas.files import read_json
from ado_nas.modelfolder import CARD, Model
from ado_nas.progress import Progress, silent
from ado_nas.specs import TaskSpec


@dataclass(frozen=True)
class ScheduleGoal:
    """What is compared to find a schedule."""

    solvers: tuple[str, ...] = ("ddim", "dpmpp_2m", "ipndm_3")
    counts: tuple[int, ...] = (4, 5, 6, 8)  # network evaluations
    refinement: Refinement | None = field(default_factory=Refinement)
    samples: int = 1000  # images that each is judged on
    latency_ms: float | None = None  # that an image may take, end to end; None for no limit
    mean_nfe: float | None = None  # of steps by content; None for fixed schedules alone
    fastest: bool = False  # without a latency: by measured time, and not by evaluations
    reference_nfe: int | None = None  # of what quality is kept of; None for the model's own

    def __post_init__(self) -> None:
        known = [name for name in SOLVERS if name != "consistency"]
        for name in self.solvers:
            if name not in known:
                raise ConfigError(f"no solver {name!r} to schedule; {nearest(name, known)}")
        if not self.solvers or not self.counts or min(self.counts) < 1:
            counts = ",".join(map(str, self.counts))
            raise ConfigError(
                f"solvers {','.join(self.solvers)} and NFE {counts}: give at least one of each, "
                "NFE from 1"
            )
        if max(self.counts) >= FINE:
            raise ConfigError(
                f"NFE {max(self.counts)}: schedules are learned for at most {FINE - 1}"
            )
        if self.latency_ms is not None:
            converted(self.latency_ms)  # refuses what is no time
        if self.samples < 100:
            raise ConfigError(f"samples {self.samples}: give at least 100")
        if self.reference_nfe is not None and self.reference_nfe < 1:
            raise ConfigError(f"a reference of {self.reference_nfe} NFE: give at least 1")
        if self.mean_nfe is not None:
            self._check_content(self.mean_nfe)

    def _check_content(self, mean: float) -> None:
        if self.latency_ms is not None:
            raise ConfigError("a time per image and a mean NFE are two goals; give one of them")
        if not min(COUNTS) <= mean <= max(COUNTS):
            raise ConfigError(f"mean NFE {mean:g}: give {min(COUNTS)} to {max(COUNTS)}")
        if not set(self.solvers) & set(RULE):
            raise ConfigError(
                f"solvers {','.join(self.solvers)} cannot choose steps by content; add one of "
                f"{', '.join(RULE)}"
            )


def check(model: Model, goal: ScheduleGoal) -> TaskSpec:
    """The task whose judge compares a model's schedules.

    Args:
        model: as loaded from its folder.
        goal: what is asked of its schedule.

    Returns:
        The task, with the model as its teacher, or a supernet's own teacher.

    Raises:
        ModelError: the model is a student, which knows its own levels alone; does not name its
            data; or is a supernet whose teacher is not where it was, or that is to be sampled by
            content: that is learned from where a model's own many steps end, and a supernet's
            end nowhere.
    """
    if model.card.get("kind") == "student":
        raise ModelError(
            f"{model.folder} is a student of {len(model.levels) - 1} steps and knows no other "
            "levels; give the teacher, or train a student with another schedule"
        )
    task = task_of(model)
    if goal.reference_nfe is not None:
        reference = dataclasses.replace(task.reference, nfe=goal.reference_nfe)
        task = dataclasses.replace(task, reference=reference)
    if is_supernet(model):
        if goal.mean_nfe is not None:
            raise ModelError(
                f"{model.folder} is a supernet; steps by content are learned for teachers: give "
                "its teacher, or a latency instead of a mean NFE"
            )
        return dataclasses.replace(task, teacher_folder=str(_taught_by(model)))
    return task


def is_supernet(model: Model) -> bool:
    """Whether a model works at any width."""
    return model.card.get("kind") == "supernet"


def _taught_by(supernet: Model) -> Path:
    """The folder of the teacher whose trajectories a supernet learned."""
    told = Path(supernet.card.get("teacher_folder", ""))  # seen from there, if in one cache
    folder = ((supernet.folder or Path()) / told).resolve()
    card = read_json(folder / CARD)
    if not card or card.get("weights_sha256") != supernet.card.get("teacher"):
        raise ModelError(
            f"{supernet.folder}: its teacher is not at {folder}; give the supernet of the "
            "workspace that it was trained in"
        )
    return folder


def opened(
    model: Model, goal: ScheduleGoal, workspace: Path, progress: Progress = silent
) -> Comparison:
    """Everything that schedules of a model are learned and judged with.

    Args:
        model: as loaded from its folder.
        goal: samples and refinement.
        workspace: its cache is used.
        progress: told about each part.

    Raises:
        ModelError: see `check`.
    """
    task = check(model, goal)
    quality = dataclasses.replace(task.quality, samples=goal.samples)
    task = dataclasses.replace(task, quality=quality, trajectories=fine(task.trajectories))
    own = model if is_supernet(model) else None
    return comparison(task, workspace, goal.refinement, progress, own)
