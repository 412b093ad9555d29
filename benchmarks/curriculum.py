"""What a curriculum of resolutions is worth, and whether one model can serve several of them.

Rows: on `shapes` at 32 px a network is trained at that resolution throughout, and others like it
with a curriculum and a part of the compute, until one reaches the first one's gap. Trainings take
minutes, and a shared machine is not the same from one to the next: how long both take is told by
their steps, timed in turns, and the seconds as they came stand beside that. Resolutions:
one model of a curriculum against specialists, which are the same network trained at one size
alone with the compute that the model spent on it. Beside them a nested network is trained at
32 px throughout with as much compute, for nesting is another way to the same end.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from ado_nas.data import Dataset, load, pyramid
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import balanced_labels, generate, noise
from ado_nas.errors import ConfigError
from ado_nas.measure.latency import time_in_turn
from ado_nas.modelfolder import Model, load_model
from ado_nas.models.unet import build_unet
from ado_nas.progress import Progress
from ado_nas.quality.figures import cached_features
from ado_nas.quality.judge import Judge, Quality
from ado_nas.specs import (
    CurriculumSpec,
    DataSpec,
    QualitySpec,
    SamplerSpec,
    TeacherSpec,
    UNetSpec,
)
from ado_nas.training.curriculum import macs_at
from ado_nas.training.step import Stepper
from ado_nas.training.teacher import batches, curriculum, edm_loss, train_teacher

SIDE = 32
DATA = DataSpec("shapes", SIDE, 10_240)
UNET = UNetSpec(
    resolution=SIDE,
    in_channels=3,
    patch=2,
    widths=(24, 48, 48),
    blocks=(1, 1, 1),
    attention=("none",) * 3,
    middle=False,
    activation="relu",
    num_classes=5,
    time_width=64,
)
NESTED = 2  # levels, of the network beside them
TEACHER = TeacherSpec(UNET, 800, 64, 4e-3, 50, 0.99)
FAST = CurriculumSpec((16, 32), (0.5, 0.5), replay=0.0, batch_growth=0.0)
EVERY = CurriculumSpec((8, 16, 32), (0.08, 0.27, 0.65), replay=0.3, batch_growth=0.0)
BUDGETS = (0.55, 0.6, 0.7, 0.85, 1.0)  # of the compute of the constant resolution
SEEDS = 3
ROUNDS = 25  # of steps timed in turns
IN_A_ROW = 4  # steps of a turn: those of a stage follow one another, too
LEVELS = karras_levels(12, 0.02, 60.0)  # at SIDE
QUALITY = QualitySpec(samples=2000)


@dataclasses.dataclass(frozen=True, eq=False)
class _Place:
    """Where teachers are trained and judged."""

    dataset: Dataset
    cache: Path
    teacher: TeacherSpec
    quality: QualitySpec
    progress: Progress

    def trained(self, spec: TeacherSpec) -> Model:
        side = spec.unet.resolution
        low, high = LEVELS[-2] * side / SIDE, LEVELS[0] * side / SIDE
        about = self.cache / "teachers", SamplerSpec(nfe=len(LEVELS) - 1), (low, high)
        dataset = pyramid.at(self.dataset, side)
        return load_model(train_teacher(spec, dataset, *about, self.progress))

    def judged(self, model: Model, side: int) -> Quality:
        """A model's images of some side, at the levels of that side."""
        few = pyramid.at(self.dataset, side)
        features = cached_features(few, self.quality, self.cache / "features", self.progress)
        judge = Judge(features, few.held_out.halves()[0], few.train, self.quality)
        count, channels = self.quality.samples, model.unet.spec.in_channels
        start = noise(self.quality.noise_seed, count, (side, side, channels))
        labels = balanced_labels(count, model.unet.spec.num_classes)
        levels = LEVELS * side / SIDE
        images = generate(model.unet, "dpmpp_2m", levels, start, labels, progress=self.progress)
        return judge.score(images)


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    data: DataSpec = DATA,
    teacher: TeacherSpec = TEACHER,
    quality: QualitySpec = QUALITY,
    seeds: int = SEEDS,
) -> dict[str, Any]:
    """Train teachers with and without a curriculum, and one for all sizes beside specialists.

    Args:
        seed: of the first row; the others follow it.
        row: one of them; the one after the last is the model for all sizes; None all.
        workspace: its cache keeps data and teachers; what was trained is not trained again.
        progress: told of each training.
        data: what is learned, at 32 px.
        teacher: the training at the constant resolution.
        quality: how it is judged.
        seeds: how many rows.

    Returns:
        rows: seed, constant_s, constant_gap with gap_interval, and of the curriculum budget (of
        the compute), seconds, gap, reached, time_ratio (of all steps, timed in turns; None where
        no budget reached the gap), wall_ratio (of the seconds as they came), and every budget
        that was tried; resolutions: resolution, gap and
        gap_interval of the one model, specialist_gap, ratio; the median time_ratio and the
        largest ratio; of the nested network seed, iterations, seconds and gap.

    Raises:
        ConfigError: no such row.
    """
    if row is not None and not 0 <= row <= seeds:
        raise ConfigError(f"row {row}: give 0 to {seeds}")
    cache = workspace / "cache"
    dataset = load(data, cache)
    spread = round(float(dataset.train.images.std()), 2)
    unet = dataclasses.replace(teacher.unet, sigma_data=spread)
    place = _Place(dataset, cache, dataclasses.replace(teacher, unet=unet), quality, progress)
    chosen = range(seeds) if row is None else [row] if row < seeds else []
    rows = [_row(place, seed + k) for k in chosen]
    sizes = _sizes(place, seed) if row in (None, seeds) else []
    ratios = [r["time_ratio"] for r in rows]
    return {
        "rows": rows,
        "resolutions": sizes,
        "curriculum": _words(FAST),
        "every_size": _words(EVERY),
        "median_time_ratio": _median(ratios),
        "largest_ratio": max((r["ratio"] for r in sizes), default=None),
        "nested": _nested(place, seed) if sizes else None,
    }


def _row(place: _Place, seed: int) -> dict[str, Any]:
    constant = dataclasses.replace(place.teacher, seed=seed)
    model = place.trained(constant)
    wanted = place.judged(model, SIDE)
    found: dict[str, Any] = {
        "seed": seed,
        "constant_s": model.card["seconds"],
        "constant_gap": round(wanted.gap, 3),
        "gap_interval": [round(v, 3) for v in wanted.gap_interval],
    }
    tried = []
    for budget in BUDGETS:
        spec = _with(constant, FAST, budget)
        model = place.trained(spec)
        gap = place.judged(model, SIDE).gap
        seconds = model.card["seconds"]
        tried.append({"budget": budget, "seconds": seconds, "gap": round(gap, 3)})
        if gap <= wanted.gap:
            break
    reached = gap <= wanted.gap
    alone, staged = _durations(place, constant, spec)
    ratios = {"time_ratio": staged / alone, "wall_ratio": seconds / found["constant_s"]}
    told = {k: round(v, 3) if reached else None for k, v in ratios.items()}
    return {**found, **tried[-1], "reached": reached, **told, "tried": tried}


def _durations(place: _Place, constant: TeacherSpec, staged: TeacherSpec) -> list[float]:
    """Milliseconds of all steps of each training, by steps of each side timed in turns.

    Network and batches are equal, so that a step at one side is the same in both.
    """
    counts = [Counter(_sides_of(spec)) for spec in (constant, staged)]
    sides = sorted(counts[1])
    steps = [_steps(place.dataset, staged, side) for side in sides]
    spans = dict(zip(sides, time_in_turn(steps, ROUNDS), strict=True))
    return [sum(of[side] * spans[side] / IN_A_ROW for side in sides) for of in counts]


def _sides_of(spec: TeacherSpec) -> list[int]:
    course = curriculum(spec)
    return [course.side(i) for i in range(course.iterations)]


def _steps(dataset: Dataset, spec: TeacherSpec, side: int) -> Callable[[], mx.array]:
    """Steps of a training at one of its sides that follow one another, batches included."""
    unet, rate = build_unet(spec.unet, spec.seed), mx.array(0.0)
    stepper = Stepper(unet, edm_loss, lambda _: rate, spec.ema_decay)
    iterations = itertools.cycle(i for i, s in enumerate(_sides_of(spec)) if s == side)

    def steps() -> mx.array:
        for _ in range(IN_A_ROW):
            stepper(*next(batches(spec, dataset, next(iterations))))
        return stepper.vector

    return steps


def _sizes(place: _Place, seed: int) -> list[dict[str, Any]]:
    """One model for all sizes, and a specialist for each with the compute spent on it."""
    spec = _with(dataclasses.replace(place.teacher, seed=seed), EVERY, 1.0)
    course, model = curriculum(spec), place.trained(spec)
    rows = []
    for side in EVERY.resolutions:
        count = sum(course.side(i) == side for i in range(course.iterations))
        alone = dataclasses.replace(
            place.teacher,
            unet=dataclasses.replace(place.teacher.unet, resolution=side),
            iterations=count,
            batch=course.batch(side),
            p_mean=place.teacher.p_mean + math.log(side / SIDE),
            seed=seed,
        )
        special = place.judged(place.trained(alone), side).gap
        own = place.judged(model, side)
        rows.append(
            {
                "resolution": side,
                "iterations": count,
                "batch": course.batch(side),
                "gap": round(own.gap, 3),
                "gap_interval": [round(v, 3) for v in own.gap_interval],
                "specialist_gap": round(special, 3),
                "floor": round(own.floor, 3),
                "ratio": round(own.gap / max(special, own.floor), 3),
            }
        )
    return rows


def _nested(place: _Place, seed: int) -> dict[str, Any]:
    """A nested network with the compute of the constant resolution."""
    plain = place.teacher.unet
    unet = dataclasses.replace(plain, nested=NESTED)
    share = macs_at(plain, SIDE) / macs_at(unet, SIDE)
    count = round(share * place.teacher.iterations)
    model = place.trained(
        dataclasses.replace(place.teacher, unet=unet, iterations=count, seed=seed)
    )
    gap = round(place.judged(model, SIDE).gap, 3)
    return {"seed": seed, "iterations": count, "seconds": model.card["seconds"], "gap": gap}


def _with(spec: TeacherSpec, course: CurriculumSpec, budget: float) -> TeacherSpec:
    return dataclasses.replace(
        spec,
        unet=course.told(spec.unet),
        iterations=max(1, round(budget * spec.iterations)),
        curriculum=course,
    )


def _words(spec: CurriculumSpec) -> str:
    parts = zip(spec.resolutions, spec.shares, strict=True)
    stages = ", ".join(f"{share:.0%} of the compute at {side} px" for side, share in parts)
    return f"{stages}; replay {spec.replay:g}, batch growth {spec.batch_growth:g}"


def _median(values: list[float | None]) -> float | None:
    """The middle one, where those that are missing count as the largest."""
    ranked = sorted(math.inf if v is None else v for v in values)
    middle = ranked[len(ranked) // 2] if ranked else math.inf
    return None if math.isinf(middle) else middle
