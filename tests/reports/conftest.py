"""Made-up studies for the tests of reports: no figure in here was ever measured."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from studies.record import StudyRecord, TrialRecord
from studies.selection import overtaken, pick

FLOOR, REFERENCE_GAP, REFERENCE_MS, REFERENCE_MB = 2.0, 9.9, 44.2, 2.61
WIDTHS = {"8-16": 0.17, "12-24": 0.37, "16-32": 0.66, "24-48": 1.48}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
MakeStudy = Callable[..., StudyRecord]


@functools.cache
def digits() -> list[Image.Image]:
    """64 digits of 16 px."""
    pixels = (load_digits().images[:64] * (255 / 16)).astype(np.uint8)
    return [Image.fromarray(p).resize((16, 16), Image.Resampling.LANCZOS) for p in pixels]


@functools.cache
def sheet_of(damage: float) -> Image.Image:
    """8 x 8 digits of 16 px, blurred by `damage` pixels."""
    sheet = Image.new("L", (8 * 18 + 2, 8 * 18 + 2), 0)
    for index, tile in enumerate(digits()):
        shown = tile.filter(ImageFilter.GaussianBlur(damage)) if damage else tile
        sheet.paste(shown, (2 + 18 * (index % 8), 2 + 18 * (index // 8)))
    return sheet


def grid(path: Path, damage: float) -> None:
    """Save a made-up sample grid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet_of(round(damage, 1)).save(path)


def rungs(kept: float, count: int) -> str:
    """How a made-up trial stood at its first rungs, as a search writes it."""
    heights = (0.5, 0.75, 0.9)[:count]
    rows = [
        {"iteration": 62 * 2**i, "gap": 20.0, "retention": kept * share}
        for i, share in enumerate(heights)
    ]
    return json.dumps(rows)


def predicted(number: int, latency: float, memory: float) -> dict[str, Any]:
    """What a made-up trial was told to take, a little off, once four were timed."""
    if number < 4:
        return {}
    off = 1 + 0.02 * (number % 11 - 5)
    training = 24.0 + 3 * (number % 5)
    plan = {"predicted_mb": training * off, "measured_mb": training}
    return {
        "predicted_latency_ms": latency * off,
        "predicted_peak_memory_mb": memory * (2 - off),
        "memory_plan": json.dumps({"plans": [plan, plan | {"measured_mb": 1.0}]}),
    }


def scored(number: int, draw: random.Random, folder: Path) -> TrialRecord:
    """A made-up trial that was trained and scored."""
    width, steps = draw.choice(list(WIDTHS)), draw.choice([1, 2, 3, 4])
    gap = 8.6 + 2.4 / WIDTHS[width] / steps**0.5 + abs(draw.gauss(0, 3.0))
    latency = 0.35 * steps * (0.4 + WIDTHS[width]) * draw.uniform(0.95, 1.05)
    kept = (REFERENCE_GAP + FLOOR) / (gap + FLOOR)
    name = f"studies/made-up/trials/{number}"
    grid(folder / name / "samples.png", 1.2 * (1 - min(kept, 1)))
    return TrialRecord(
        number=number,
        state="complete",
        params={
            "width": width,
            "blocks": draw.choice(["1-1", "2-1"]),
            "attention": draw.choice(["none", "low"]),
            "activation": draw.choice(["relu", "hardswish"]),
            "patch": 2,
            "steps": steps,
        },
        values={"gap": gap, "latency_ms": latency, "size_mb": WIDTHS[width]},
        constraints={"latency": latency / 8.0 - 1, "size": 0.0, "retention": 0.5 - kept},
        attributes={
            "retention": kept,
            "latency_iqr_ms": latency * 0.04,
            "gap_low": gap * 0.93,
            "gap_high": gap * 1.08,
            "params": int(WIDTHS[width] * 250_000),
            "peak_memory_mb": 12.0 + 9 * WIDTHS[width] + 4 * (number % 3),
            **predicted(number, latency, 12.0 + 9 * WIDTHS[width] + 4 * (number % 3)),
            "inherited_fraction": min(1.0, 0.3 + 0.4 * WIDTHS[width] + 0.02 * (number % 5)),
            "sliced": 0.01 * gap * (1 + 0.1 * (number % 4)),
            "sliced_floor": 0.02,
            "kernel": 0.002 * gap,
            "density": kept * 0.9,
            "coverage": kept * (0.9 - 0.01 * (number % 7)),
            "nearest_ratio": 1.02,
            "memorizing": False,
            "rungs": rungs(kept, 3),
        },
        spec_hash=f"{draw.getrandbits(48):012x}",
        folder=name,
        started=(EPOCH + timedelta(seconds=10 * number)).isoformat(),
        seconds=draw.uniform(6, 14),
    )


def stopped(number: int, draw: random.Random) -> TrialRecord:
    """A made-up trial that ended before it was scored."""
    kind = draw.choice(["infeasible", "infeasible", "pruned", "duplicate"])
    latency = draw.uniform(8.5, 16.0)
    over = latency / 8.0 - 1 if kind == "infeasible" else 0.0
    reasons = {
        "infeasible": f"latency over its limit by {over:.0%}",
        "pruned": "behind the front after rung 1",
        "duplicate": "same candidate as trial 3",
    }
    return TrialRecord(
        number=number,
        state=kind,
        params={"width": "24-48", "steps": 4},
        values={"latency_ms": latency, "size_mb": 1.48} if kind == "infeasible" else {},
        constraints={"latency": over, "size": 0.0, "retention": 0.0, "training": 0.0},
        attributes={"latency_ms": latency, "size_mb": 1.48, "rungs": rungs(0.3, 1)}
        if kind == "pruned"
        else {},
        spec_hash=f"{draw.getrandbits(48):012x}",
        folder="",
        reason=reasons[kind],
        seconds=1.0,
    )


def nondominated(trials: list[TrialRecord]) -> tuple[int, ...]:
    """The front by brute force, by latency."""
    alive = [t for t in trials if t.state == "complete" and t.feasible]

    def beaten(own: TrialRecord) -> bool:
        mine = list(own.values.values())
        rivals = (list(t.values.values()) for t in alive if t is not own)
        return any(all(r <= m for r, m in zip(o, mine, strict=True)) and o != mine for o in rivals)

    kept = [t for t in alive if not beaten(t)]
    return tuple(t.number for t in sorted(kept, key=lambda t: t.values["latency_ms"]))


def again(trial: TrialRecord, draw: random.Random) -> dict[str, Any]:
    """A made-up second measurement."""
    gap = trial.values["gap"] * draw.uniform(0.99, 1.09)
    kept = (REFERENCE_GAP + FLOOR) / (gap + FLOOR)
    return {
        "gap": gap,
        "gap_interval": [gap * 0.94, gap * 1.07],
        "retention": kept,
        "retention_interval": [kept * 0.94, kept * 1.05],
        "latency_ms": trial.values["latency_ms"] * draw.uniform(0.98, 1.02),
        "latency_iqr_ms": trial.values["latency_ms"] * 0.04,
        "repeated": gap < trial.values["gap"] * 1.07,
        "speedup": REFERENCE_MS / trial.values["latency_ms"],
        "speedup_training_free": 5.3 / trial.values["latency_ms"],
    }


def training_free() -> tuple[dict[str, Any], ...]:
    """Made-up points of the teacher with fewer steps."""
    gaps = {
        ("dpmpp_2m", 4): 23.5,
        ("dpmpp_2m", 6): 12.1,
        ("dpmpp_2m", 12): 10.2,
        ("ddim", 12): 30.0,
    }
    return tuple(
        {
            "solver": solver,
            "schedule": "karras",
            "nfe": nfe,
            "gap": gap,
            "gap_interval": [gap * 0.93, gap * 1.07],
            "retention": (REFERENCE_GAP + FLOOR) / (gap + FLOOR),
            "latency_ms": REFERENCE_MS * nfe / 50,
        }
        for (solver, nfe), gap in gaps.items()
    )


def study(
    folder: Path, scores: int = 18, stops: int = 6, name: str = "made-up", remeasure: bool = True
) -> StudyRecord:
    """A made-up study of so many scored and stopped trials, with sample grids under `folder`."""
    draw = random.Random(7)
    kinds = ["scored"] * scores + ["stopped"] * stops
    draw.shuffle(kinds)
    trials = [
        scored(n, draw, folder) if kind == "scored" else stopped(n, draw)
        for n, kind in enumerate(kinds)
    ]
    front = nondominated(trials)
    by_number = {t.number: t for t in trials}
    remeasured = {n: again(by_number[n], draw) for n in front} if remeasure else {}
    grid(folder / "cache/teachers/made-up/samples.png", 0.0)
    record = StudyRecord(
        name=name,
        config={
            "preset": "digits",
            "trials": scores,
            "seed": 0,
            "task": {"latency_batch": 16, "quality": {"samples": 1000}},
            "limits": {"max_latency_ms": 8.0, "min_retention": 0.5},
            "distillation": {"iterations": 500},
        },
        trials=tuple(trials),
        front=front,
        best=None,
        reference={
            "gap": REFERENCE_GAP,
            "gap_interval": [9.2, 10.6],
            "floor": FLOOR,
            "gaussian_gap": 148.0,
            "latency_ms": REFERENCE_MS,
            "latency_batch1_ms": 61.0,
            "size_mb": REFERENCE_MB,
            "solver": "dpmpp_2m",
            "schedule": "karras",
            "nfe": 50,
            "samples": "cache/teachers/made-up/samples.png",
            "peak_memory_mb": 61.0,
            **{"sliced": 0.09, "kernel": 0.02, "density": 0.9, "coverage": 0.88},
        },
        training_free=training_free(),
        environment={
            "device": "Made-up CPU, 2 cores",
            "mlx": "0.0",
            "dtype": "float32",
            "threads": 2,
        },
        digests={"data": "0123456789ab", "teacher": "ba9876543210"},
        hypervolume=1.0,
        reference_point=(math.log(60 + FLOOR), math.log(REFERENCE_MS), math.log(REFERENCE_MB)),
        seconds={"teacher": 93.0, "trajectories": 21.5, "search": 188.0, "report": 9.4},
        remeasured=remeasured,
    )
    return dataclasses.replace(record, best=pick(record), dominated=overtaken(record))


def emptied(record: StudyRecord, trials: tuple[TrialRecord, ...] = ()) -> StudyRecord:
    """The same study with other trials, none of them on a front."""
    return dataclasses.replace(
        record, trials=trials, front=(), best=None, remeasured={}, hypervolume=0.0
    )


def row(
    kind: str, label: str, steps: int, size: float, kept: float, **more: Any
) -> dict[str, Any]:
    """A made-up setting of a trade-off."""
    gap = (REFERENCE_GAP + FLOOR) / kept - FLOOR
    return {
        "kind": kind,
        "label": label,
        "steps": steps,
        "solver": "ddim" if kind == "student" else "dpmpp_2m",
        "schedule": "dp" if kind == "student" else "karras",
        "size_mb": size,
        "latency_ms": REFERENCE_MS * steps / 50 * (size / REFERENCE_MB) ** 0.5,
        **dict(zip(("gap", "gap_low", "gap_high"), (gap, 0.9 * gap, 1.1 * gap), strict=True)),
        **{"retention": kept, "retention_low": 0.96 * kept, "retention_high": 1.03 * kept},
        **{"passed": None, "chosen": False, "stage": None, "samples": None, **more},
    }


def attempt(stage: int, before: int, after: int, size: float, kept: float) -> dict[str, Any]:
    """A made-up attempt at a stage, passed where it kept 0.95."""
    passed = kept >= 0.95
    return {
        "stage": stage,
        "kind": "steps" if before != after else "size",
        "input_steps": before,
        "output_steps": after,
        "input_mb": REFERENCE_MB,
        "output_mb": size,
        "method": "anchored",
        "iterations": 500,
        "training_s": 41.3,
        **{"retention": kept, "retention_low": kept - 0.03, "retention_high": kept + 0.02},
        "sliced": 0.081,
        "sliced_allowed": 0.085,
        "passed": passed,
        "action": "passed" if passed else "doubled",
        "note": "" if passed else f"retention {kept} is below 0.95",
    }


@pytest.fixture
def tradeoff(tmp_path: Path) -> dict[str, Any]:
    """A made-up optimization whose sample grids lie in the test's folder."""
    for name, damage in (("reference.png", 0.0), ("student.png", 0.6)):
        grid(tmp_path / name, damage)
    free = ((25, 0.995), (12, 0.97), (8, 0.93), (4, 0.47))
    return {
        "name": "made-up",
        "quality_threshold": 0.95,
        "reached": True,
        "plan": {"original": 50, "stages": [7, 4], "errors": [1.0], "reason": "47 times as far"},
        "device": "Made-up CPU, 2 cores",
        "samples": 1000,
        "noise_sets": 4,
        "rows": [
            row("reference", "Reference", 50, REFERENCE_MB, 1.0, samples="reference.png"),
            *(row("training_free", f"{n} steps", n, REFERENCE_MB, kept) for n, kept in free),
            row("student", "7 steps", 7, REFERENCE_MB, 0.985, passed=True, stage=1),
            row("student", "4 steps", 4, REFERENCE_MB, 0.92, passed=False, stage=2),
            row(
                "student",
                "4 steps, narrow",
                4,
                REFERENCE_MB / 4,
                0.96,
                **{"passed": True, "chosen": True, "stage": 3, "samples": "student.png"},
            ),
        ],
        "stages": [
            attempt(1, 50, 7, REFERENCE_MB, 0.985),
            attempt(2, 7, 4, REFERENCE_MB, 0.92),
            attempt(2, 7, 4, REFERENCE_MB, 0.97),
            attempt(3, 4, 4, REFERENCE_MB / 4, 0.96),
        ],
    }


@pytest.fixture
def make_study(tmp_path: Path) -> Iterator[MakeStudy]:
    """Makes made-up studies in a workspace of the test's own."""
    workspace = tmp_path / "ado-runs"
    yield lambda **settings: study(workspace, **settings)
    shutil.rmtree(workspace, ignore_errors=True)


@pytest.fixture
def without_trials() -> Callable[..., StudyRecord]:
    """Takes the trials from a study, or puts others in that no front holds."""
    return emptied
