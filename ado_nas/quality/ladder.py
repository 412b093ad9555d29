"""The test of the metrics themselves: known damage must be ordered rightly and told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.data import Split
from ado_nas.errors import DataError
from ado_nas.progress import Progress, silent
from ado_nas.quality.damage import SEVERITIES, damaged
from ado_nas.quality.judge import Judge, Quality

Floats = npt.NDArray[np.float32]

OBJECTIVE = "gap"
SEPARATION = 10.0
# Metrics by name, with the sign that makes larger mean worse.
METRICS = {"gap": 1, "sliced": 1, "kernel": 1, "density": -1, "coverage": -1}


@dataclass(frozen=True)
class Rung:
    """One metric's value at one severity of one damage."""

    data: str
    damage: str
    severity: float
    metric: str
    value: float
    separation: float  # from the mean of a good generator's draws, in their standard deviations


@dataclass(frozen=True)
class Ladder:
    """Every value, and which metric tells damage best."""

    rows: tuple[Rung, ...]
    ordered: dict[str, bool]  # by metric: every damage ordered by severity
    separation: dict[str, float]  # by metric: of full pixel-Gaussian noise
    objective: str  # what a search minimizes
    best: str  # separates best of those that order everything; "" if none does

    @property
    def holds(self) -> bool:
        """The objective orders every damage, and noise lies 10 deviations from the generator."""
        return self.ordered[self.objective] and self.separation[self.objective] >= SEPARATION


def ladder(
    data: str,
    judge: Judge,
    pool: Split,
    draws: Sequence[Floats],
    few_steps: Mapping[int, Floats] | None = None,
    progress: Progress = silent,
) -> Ladder:
    """Score known damage of real images, with a good generator's own draws as the yardstick.

    Args:
        data: name of the set, for the rows.
        judge: with one half of the held-out images.
        pool: the other half, to be damaged.
        draws: at least 3 sets of images (N, H, W, C) of the generator, from different noise.
        few_steps: its images by number of network evaluations; fewer is more damage.
        progress: told of each set scored.

    Raises:
        DataError: fewer than 3 draws.
    """
    if len(draws) < 3:
        raise DataError(
            f"{len(draws)} draws of the generator; give at least 3 to know their spread"
        )
    sets = list(_sets(pool, few_steps or {}))
    total = len(sets) + len(draws)
    yardstick = []
    for i, images in enumerate(draws):
        yardstick.append(judge.score(images))
        progress("ladder", i + 1, total, "draw")
    rows: list[Rung] = []
    for i, (damage, severity, images) in enumerate(sets):
        rows += _rungs(data, damage, severity, judge.score(images), yardstick)
        progress("ladder", len(draws) + i + 1, total, damage)
    return _verdict(rows)


def _sets(pool: Split, few_steps: Mapping[int, Floats]) -> Iterator[tuple[str, float, Floats]]:
    for kind, severities in SEVERITIES.items():
        for severity in severities:
            yield kind, severity, damaged(pool, kind, severity)
    for nfe in sorted(few_steps, reverse=True):
        yield "few_steps", 1 / nfe, few_steps[nfe]


def _rungs(
    data: str, damage: str, severity: float, quality: Quality, draws: Sequence[Quality]
) -> list[Rung]:
    rungs = []
    for metric, sign in METRICS.items():
        values = [getattr(draw, metric) for draw in draws]
        spread = max(float(np.std(values, ddof=1)), 1e-12)
        value = float(getattr(quality, metric))
        separation = sign * (value - float(np.mean(values))) / spread
        rungs.append(Rung(data, damage, severity, metric, value, separation))
    return rungs


def _verdict(rows: Sequence[Rung]) -> Ladder:
    ordered, separation = {}, {}
    for metric in METRICS:
        mine = [row for row in rows if row.metric == metric]
        damages = {row.damage for row in mine}
        ordered[metric] = all(_rising([r for r in mine if r.damage == d]) for d in damages)
        full = [r for r in mine if r.damage == "gaussian" and r.severity == 1.0]
        separation[metric] = full[0].separation
    able = [metric for metric in METRICS if ordered[metric]]
    best = max(able, key=lambda metric: separation[metric], default="")
    return Ladder(tuple(rows), ordered, separation, OBJECTIVE, best)


def _rising(rows: Sequence[Rung]) -> bool:
    by_severity = sorted(rows, key=lambda row: row.severity)
    return all(a.separation < b.separation for a, b in pairwise(by_severity))


def as_rows(found: Ladder) -> list[dict[str, Any]]:
    """Plain rows for JSON."""
    return [asdict(row) for row in found.rows]
