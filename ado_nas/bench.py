"""All that candidates of one task are scored with, built once and opened by every worker."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ado_nas.data import Dataset, load, pyramid
from ado_nas.diffusion.sampling import balanced_labels, noise
from ado_nas.distillation.supernet import train_supernet
from ado_nas.distillation.trajectories import Bank, build_bank
from ado_nas.errors import Diverged, ModelError, NegativeVerdict
from ado_nas.modelfolder import Model, load_model
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress, silent
from ado_nas.quality.features import FeatureNet
from ado_nas.quality.figures import cached_features, features_folder
from ado_nas.quality.judge import Judge
from ado_nas.specs import DataSpec, TaskSpec, TrajectorySpec, from_dict
from ado_nas.training.budget import accounting
from ado_nas.training.plan import plan
from ado_nas.training.teacher import finished, train_teacher


@dataclass(eq=False)
class Bench:
    """The task's data, teacher, trajectories and judge.

    `judge` scores on the first half of the held-out images, for the search; `report_judge` makes
    the one for the report. `seconds` says how long each part took to make or open.
    """

    task: TaskSpec
    dataset: Dataset
    teacher: Model
    bank: Bank
    features: FeatureNet
    judge: Judge
    seconds: dict[str, float] = field(default_factory=dict)
    supernet: Model | None = None  # where the task has one
    smaller: dict[int, Judge] = field(default_factory=dict)  # of lower resolutions, by side

    @property
    def source(self) -> tuple[str, UNet, str]:
        """What students take their first weights of: its name, its network, in which order.

        Where the task lets them inherit nothing, this is what they would inherit from.
        """
        if self.supernet is None:
            return "teacher", self.teacher.unet, "kept"
        return "supernet", self.supernet.unet, "leading"

    def start(self, seed: int, count: int | None = None, side: int | None = None) -> np.ndarray:
        """The noise that images are judged on: (N, H, W, C), equal for all candidates.

        Args:
            seed: of the noise.
            count: of images, N; as many as are judged if left out.
            side: of the images, px; the teacher's if left out.
        """
        unet = self.teacher.unet.spec
        side = side or unet.resolution
        shape = (side, side, unet.in_channels)
        return noise(seed, count or self.task.quality.samples, shape)

    def labels(self, count: int | None = None) -> np.ndarray | None:
        """The classes asked for, in turn: (N,) int32, or None; see `start`."""
        number = count or self.task.quality.samples
        return balanced_labels(number, self.teacher.unet.spec.num_classes)

    @functools.cached_property
    def practice_judge(self) -> Judge:
        """Of what is learned by the gap: against training images, so that none is used up."""
        train = self.dataset.train
        return Judge(self.features, train, train, self.task.quality)

    def report_judge(self) -> Judge:
        """A judge on the second half of the held-out images."""
        half = self.dataset.held_out.halves()[1]
        return Judge(self.features, half, self.dataset.train, self.task.quality)

    @property
    def digests(self) -> dict[str, str]:
        """What the figures depend on, by content."""
        return {
            "data": self.dataset.digest,
            "teacher": self.teacher.card["weights_sha256"][:12],
            "trajectories": self.bank.key,
            "features": self.features.hash,
        }


def open_bench(task: TaskSpec, workspace: Path, progress: Progress = silent) -> Bench:
    """Build what is missing in the workspace's cache and load the rest.

    Args:
        task: what the search is about.
        workspace: its ``cache`` folder is used.
        progress: told about each part.

    Returns:
        The bench.

    Raises:
        DataError: the dataset cannot be had.
        ModelError: a given teacher does not fit the data.
        NegativeVerdict: teacher, trajectories or supernet come to values that are not finite.
        OutOfMemory: the memory budget is too small to train the teacher or supernet.
    """
    with accounting(task.memory_budget_mb):
        return _opened(task, workspace / "cache", progress)


def _opened(task: TaskSpec, cache: Path, progress: Progress) -> Bench:
    seconds: dict[str, float] = {}
    clock = time.monotonic()

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name], clock = round(time.monotonic() - clock, 2), time.monotonic()

    dataset = load(task.data, cache)
    given = load_model(Path(task.teacher_folder)) if task.teacher_folder else None
    if given:
        _check(given, dataset)
    lap("data")
    task = fitted(task, dataset)
    if task.memory_budget_mb and not given:
        _check_memory(task, dataset, cache / "teachers")
    features = cached_features(dataset, task.quality, cache / "features", progress)
    judge = Judge(features, dataset.held_out.halves()[0], dataset.train, task.quality)
    smaller = {s: _judge_at(s, dataset, task, cache, progress) for s in task.quality.resolutions}
    lap("features")
    slower = f"lower task.teacher.learning_rate ({task.teacher.learning_rate:g})"
    with _converging("the teacher", slower):
        teacher = given or _trained(task, dataset, cache / "teachers", progress)
    unet = dataclasses.replace(task.teacher, unet=teacher.unet.spec)
    task = dataclasses.replace(task, teacher=unet)
    lap("teacher")
    with _converging("sampling the teacher", "give another teacher" if given else slower):
        bank = build_bank(task.trajectories, teacher, cache / "trajectories", progress)
    lap("trajectories")
    supernet = None
    if task.supernet.iterations:
        slower = f"lower task.supernet.learning_rate ({task.supernet.learning_rate:g})"
        with _converging("the supernet", slower):
            folder = train_supernet(task.supernet, teacher, bank, cache / "supernets", progress)
        supernet = load_model(folder)
        lap("supernet")
    return Bench(task, dataset, teacher, bank, features, judge, seconds, supernet, smaller)


@contextlib.contextmanager
def _converging(part: str, advice: str) -> Iterator[None]:
    """A part that every candidate needs, and that no trial can be pruned for, must come out."""
    try:
        yield
    except Diverged as error:
        raise NegativeVerdict(f"{part} diverged: {error}; {advice}") from None


def _judge_at(
    side: int, dataset: Dataset, task: TaskSpec, cache: Path, progress: Progress
) -> Judge:
    """The judge of images at a lower resolution, with features of its own."""
    few = pyramid.at(dataset, side)
    features = cached_features(few, task.quality, cache / "features", progress)
    return Judge(features, few.held_out.halves()[0], few.train, task.quality)


def parts(bench: Bench, workspace: Path) -> dict[str, Path]:
    """The folders that a bench was opened from.

    Args:
        bench: as `open_bench` gave it.
        workspace: likewise.

    Returns:
        data, features, those of lower resolutions as ``features 8``, teacher, trajectories and,
        where there is one, supernet.
    """
    cache, spec, data = workspace / "cache", bench.task.quality, bench.dataset
    few = {f"features {side}": pyramid.at(data, side) for side in bench.smaller}
    of = {"features": data, **few}
    found = {
        "data": data.folder,
        **{name: features_folder(one, spec, cache / "features") for name, one in of.items()},
        "teacher": bench.teacher.folder,
        "trajectories": cache / "trajectories" / bench.bank.key,
        "supernet": bench.supernet.folder if bench.supernet else None,
    }
    return {name: folder for name, folder in found.items() if folder}


def task_of(teacher: Model) -> TaskSpec:
    """The task that a teacher's folder tells: its data, its sampler as reference, its levels.

    Args:
        teacher: as loaded from its folder.

    Returns:
        The task, with everything else at its default.

    Raises:
        ModelError: the model was not loaded from a folder, or its card does not say the data.
    """
    told = teacher.card.get("data", {})
    if not teacher.folder:
        raise ModelError("the teacher has no folder; save it with modelfolder.save_model")
    if not isinstance(told, dict) or "spec" not in told:
        raise ModelError(
            f"{teacher.folder}: its card does not say what data it was trained on; give a task "
            "that names the data"
        )
    high, low = float(teacher.levels[0]), float(teacher.levels[-2])
    guidance = teacher.sampler.guidance
    return TaskSpec(
        data=from_dict(DataSpec, told["spec"]),
        trajectories=TrajectorySpec(guidance=guidance, sigma_min=low, sigma_max=high),
        reference=teacher.sampler,
        teacher_folder=str(teacher.folder),
    )


def fitted(task: TaskSpec, dataset: Dataset) -> TaskSpec:
    """The task with what only the data can tell: channels, classes, spread.

    Args:
        task: as configured, perhaps for other data.
        dataset: what is there.

    Returns:
        The task whose teacher has the data's channels, the data's classes if it has any and the
        teacher wants some, and the standard deviation of the training images as `sigma_data`.
    """
    unet = task.teacher.unet
    unet = dataclasses.replace(
        unet,
        in_channels=dataset.train.images.shape[-1],
        num_classes=dataset.num_classes if unet.num_classes else 0,
        sigma_data=round(dataset.train.spread(), 2) or unet.sigma_data,
    )
    return dataclasses.replace(task, teacher=dataclasses.replace(task.teacher, unet=unet))


def _trained(task: TaskSpec, dataset: Dataset, cache: Path, progress: Progress) -> Model:
    limits = (task.trajectories.sigma_min, task.trajectories.sigma_max)
    folder = train_teacher(task.teacher, dataset, cache, task.reference, limits, progress)
    return load_model(folder)


def _check_memory(task: TaskSpec, dataset: Dataset, cache: Path) -> None:
    """Refuse a budget that the teacher cannot be trained in, before anything is trained."""
    if not finished(task.teacher, dataset, cache):
        plan(task.teacher.unet, task.teacher.batch, int(task.memory_budget_mb * 1e6))


def _check(teacher: Model, dataset: Dataset) -> None:
    spec, shape = teacher.unet.spec, dataset.train.images.shape[1:]
    wanted = (spec.resolution, spec.resolution, spec.in_channels)
    where = f"teacher {teacher.folder}" if teacher.folder else "the teacher"
    if wanted != shape:
        raise ModelError(
            f"{where} makes images of {wanted} but the data has {shape} (height, width, "
            "channels); "
            "change --data or --resolution, or give another --teacher"
        )
    if spec.num_classes not in (0, dataset.num_classes):
        raise ModelError(
            f"{where} knows {spec.num_classes} classes but the data has {dataset.num_classes}; "
            "give a teacher of this data"
        )
