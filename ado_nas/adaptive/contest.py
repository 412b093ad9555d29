"""Steps by content against the best fixed schedules, at equal mean evaluations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.adaptive.blind import mixed
from ado_nas.adaptive.comparison import Comparison, compare
from ado_nas.adaptive.content import learn_content
from ado_nas.adaptive.recipe import Recipe, recipe_of
from ado_nas.adaptive.scheduler import AdaptiveScheduler
from ado_nas.device import timed_on
from ado_nas.diffusion.sampling import generate
from ado_nas.diffusion.solvers import RULE
from ado_nas.measure.latency import time_in_turn
from ado_nas.quality.figures import compared
from ado_nas.quality.judge import Quality
from ado_nas.specs import digest

SCHEMA = 2  # raise it when learning or judging changes
TIMED = 4  # batches


def contest(
    found: Comparison, solvers: Sequence[str], mean_nfe: float
) -> tuple[AdaptiveScheduler, dict[str, Any]]:
    """Learn steps by content, and compare them with what gives every image the same.

    Args:
        found: where both are judged, on the same noise.
        solvers: of the fixed schedules; the best one with a rule serves the content, too.
        mean_nfe: evaluations that may be spent on average.

    Returns:
        The scheduler, and: solver, mean_nfe (spent on the judged noise), gap, gap_interval,
        retention, retention_interval, latency_ms with compaction, shares (of the images, by
        evaluations); the same of ``fixed``, the best schedules of the two neighboring whole
        numbers, mixed to this mean; ``ratio``, how much of the fixed gap is left, inverted, with
        its 95% interval; and whether steps by content proved ``better``: all of it is above 1.
    """
    about = found.bench.digests, found.bank.key, found.refinement, found.judging, tuple(solvers)

    def learned() -> dict[str, Any]:
        named = [s for s in solvers if s in RULE]
        solver = str(_best(found, named, round(mean_nfe))["solver"])
        return learn_content(
            found.bench,
            found.bank,
            solver,
            mean_nfe,
            refinement=found.refinement,
            progress=found.progress,
        ).facts()

    key = digest("content", SCHEMA, *about, mean_nfe)
    scheduler = AdaptiveScheduler.of(found.once(key, learned))
    timed = found.bench.task.latency_batch, timed_on()
    key = digest("contest", SCHEMA, *about, scheduler.facts(), *timed)
    return scheduler, found.once(key, lambda: _judged(found, solvers, scheduler))


def _judged(
    found: Comparison, solvers: Sequence[str], scheduler: AdaptiveScheduler
) -> dict[str, Any]:
    task = found.bench.task
    seed, batch = task.quality.noise_seed, task.quality.batch
    start, labels = found.bench.start(seed), found.bench.labels()
    model, guidance = found.bench.teacher, task.reference.guidance
    images, spent = scheduler.sample(model, start, labels, batch, found.progress)
    mean = float(spent.mean())
    rows = {n: _best(found, solvers, n) for n in {math.floor(mean), math.ceil(mean)}}
    recipes = {n: recipe_of(row["recipe"]) for n, row in rows.items()}

    def plain(nfe: int) -> np.ndarray:
        one = recipes[nfe]
        return generate(model.unet, one.run, one.levels, start, labels, guidance, batch)

    others, _ = mixed(plain, mean, seed)
    own, fixed = found.score(images), found.score(others)
    times = _times(found, scheduler, recipes, spent)
    counts = {str(n): float(np.mean(spent == n)) for n in scheduler.schedules.levels}
    every = {"mean_nfe": mean, "latency_batch": task.latency_batch}
    return {
        **every,
        **found.figures(own),
        **_ratio(fixed, own),
        "solver": scheduler.schedules.solver,
        "latency_ms": times[0],
        "shares": counts,
        "fixed": {
            **every,
            **found.figures(fixed),
            "latency_ms": times[1],
            "schedules": [
                {k: row[k] for k in ("solver", "schedule", "nfe")} for row in rows.values()
            ],
        },
    }


def _best(found: Comparison, solvers: Sequence[str], nfe: int) -> dict[str, Any]:
    """The best of all fixed schedules of so many evaluations, on the judged noise itself."""
    rows = [row for row in compare(found, solvers, [nfe]) if row["nfe"] == nfe]
    return max(rows, key=lambda row: float(row["retention"]))


def _ratio(fixed: Quality | None, own: Quality | None) -> dict[str, Any]:
    if fixed is None or own is None:
        return {"ratio": None, "ratio_interval": None, "better": False}
    before = {"gap": fixed.gap, "replicates": dataclasses.asdict(fixed.replicates)}
    kept = compared(before, own)
    interval = kept["retention_low"], kept["retention_high"]
    return {"ratio": kept["retention"], "ratio_interval": interval, "better": interval[0] > 1}


def _times(
    found: Comparison,
    scheduler: AdaptiveScheduler,
    recipes: Mapping[int, Recipe],
    spent: np.ndarray,
) -> tuple[float, float]:
    """Milliseconds per image by content and fixed, side by side, the same images in batches."""
    bench, size = found.bench, found.bench.task.latency_batch
    count = min(TIMED * size, len(spent))
    start = bench.start(bench.task.quality.noise_seed)[:count]
    labels = bench.labels(count)
    model, guidance = bench.teacher, bench.task.reference.guidance

    def plain(one: Recipe) -> Callable[[], mx.array]:
        about = one.run, one.levels, start, labels, guidance, size
        return lambda: mx.array(generate(model.unet, *about))

    def own() -> mx.array:
        return mx.array(scheduler.sample(model, start, labels, size)[0])

    mine, *others = time_in_turn([own, *(plain(one) for one in recipes.values())])
    # These few images may spend a little more or less than all of them.
    mean, low = float(spent[:count].mean()), min(recipes)
    each = dict(zip(recipes, others, strict=True))
    fixed = each[low] + (mean - low) * (each[max(recipes)] - each[low])
    return mine / count, fixed / count
