"""Progressive distillation: stage after stage through the gate, with rollback.

Every attempt starts from the last student that passed, so that a failed one is rolled back by
forgetting it. Then its iterations are doubled, then a stage is put between, then it ends with the
best that passed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ado_nas.distillation import planner
from ado_nas.distillation.attempts import Attempt, Result
from ado_nas.distillation.consistency import LONGER
from ado_nas.distillation.planner import Plan
from ado_nas.measure.cost import cost
from ado_nas.optimization import OptimizationSpec
from ado_nas.specs import UNetSpec
from ado_nas.widths import timed, units

Make = Callable[[Attempt], Result]

SHRINK = 0.7  # share of the widths kept by one stage of compression
LEAST = 0.1  # of the teacher's widths
NEAR = 0.1  # below the threshold, where twice the iterations may help
CLOSE = 1.1  # ratio of two sizes between which there is no point in looking


@dataclass(frozen=True)
class Decision:
    """An attempt, and what was done after it."""

    stage: int  # from 1
    kind: str  # steps or size
    input_steps: int
    input_mb: float
    result: Result
    action: str  # passed, doubled, inserted, narrowed (the search for a size) or stopped
    note: str = ""


def lead(make: Make, plan: Plan, unet: UNetSpec, spec: OptimizationSpec) -> Iterator[Decision]:
    """Go through the stages of a plan.

    Args:
        make: trains and judges an attempt.
        plan: the stages.
        unet: the teacher's architecture, kept throughout.
        spec: method and iterations.

    Yields:
        Each attempt with what follows from it; the last one passed at the target, or stopped.
    """
    ahead, split, stage = list(plan.stages), set[int](), 1
    best: Result | None = None
    size = cost(unet).size_mb
    while ahead:
        before, after = best.attempt.steps if best else plan.original, ahead[0]
        found = None
        for factor in (1, 2):
            tried = make(attempt(unet, after, best.key if best else "", spec, factor))
            if tried.verdict.passed:
                found = tried
                break
            if factor == 1:
                yield Decision(stage, "steps", before, size, tried, "doubled", _doubling(tried))
        if found:
            yield Decision(stage, "steps", before, size, found, "passed")
            best, stage = found, stage + 1
            ahead.pop(0)
            continue
        middle = None if after in split else _middle(plan, before, after, spec.method)
        if middle is None:
            yield Decision(stage, "steps", before, size, tried, "stopped", tried.verdict.reason)
            return
        note = f"{tried.verdict.reason}; {middle} steps come first"
        yield Decision(stage, "steps", before, size, tried, "inserted", note)
        split |= {after, middle}
        ahead.insert(0, middle)


def shrink(make: Make, first: Result, spec: OptimizationSpec, stage: int) -> Iterator[Decision]:
    """Narrow a student stage by stage until the gate stops it, then bisect.

    Args:
        make: trains and judges an attempt.
        first: the student to begin with, which passed.
        spec: with `compress` auto, the smallest that passes is sought; with a size, the widest of
            at most that.
        stage: number of the first stage.

    Yields:
        Each attempt; those that passed get ever smaller.
    """
    whole, best = first.attempt.unet, first
    share, refused = 1.0, 0.0
    goal = _share_for(whole, spec.size_mb) if spec.size_mb else LEAST
    while best.attempt.unet != scaled(whole, goal):
        following = _halfway(whole, share, refused) if refused else max(share * SHRINK, goal)
        if following is None:
            return
        unet = scaled(whole, following)
        if unet == best.attempt.unet:
            share = following
            continue
        before = cost(best.attempt.unet).size_mb
        made = None
        for factor in (1, 2):
            tried = make(attempt(unet, best.attempt.steps, best.key, spec, factor))
            if tried.verdict.passed:
                made = tried
                break
            if factor == 2 or tried.verdict.retention < spec.quality_threshold - NEAR:
                break
            note = _doubling(tried)
            yield Decision(stage, "size", best.attempt.steps, before, tried, "doubled", note)
        action, note = ("passed", "") if made else ("narrowed", tried.verdict.reason)
        yield Decision(stage, "size", best.attempt.steps, before, tried, action, note)
        if made:
            best, share, stage = made, following, stage + 1
        else:
            refused = following


def scaled(whole: UNetSpec, share: float) -> UNetSpec:
    """A smaller network: the widest levels, which hold most weights, are cut first.

    Args:
        whole: the network.
        share: of its widest level that no level may exceed, above 0, at most 1.

    Returns:
        The same network with narrower levels, and that share of its time embedding.
    """
    most = share * max(whole.widths)
    pairs = zip(whole.widths, units(whole), strict=True)
    widths = tuple(min(w, max(1, math.floor(most / u + 0.5)) * u) for w, u in pairs)
    return dataclasses.replace(whole, widths=widths, time_width=timed(whole, share))


def attempt(
    unet: UNetSpec, steps: int, parent: str, spec: OptimizationSpec, factor: int = 1
) -> Attempt:
    """What is tried for a number of steps.

    Args:
        unet: the student's architecture.
        steps: of the student.
        parent: key of the student it starts from; empty for the teacher.
        spec: method and iterations.
        factor: times the iterations.
    """
    chosen = "anchored" if spec.method == "auto" else spec.method
    longer = LONGER if chosen == "consistency" else 1
    return Attempt(unet, steps, chosen, factor * longer * spec.training.iterations, parent)


def _middle(plan: Plan, before: int, after: int, asked: str) -> int | None:
    # Chained steps halve, and a consistency model has no steps in its training.
    if asked in ("chained", "consistency"):
        return None
    return planner.between(plan.errors, before, after)


def _doubling(tried: Result) -> str:
    return f"{tried.verdict.reason}; {2 * tried.attempt.iterations} iterations next"


def _share_for(whole: UNetSpec, size_mb: float) -> float:
    """The largest share of the widths, in hundredths, at which the size is not above a goal."""
    shares = [i / 100 for i in range(100, int(100 * LEAST) - 1, -1)]
    fitting = (s for s in shares if cost(scaled(whole, s)).size_mb <= size_mb)
    return next(fitting, LEAST)


def _halfway(whole: UNetSpec, share: float, refused: float) -> float | None:
    """The share in the middle of those between that differ from both ends; None without one."""
    ends = scaled(whole, share), scaled(whole, refused)
    if cost(ends[0]).size_mb < CLOSE * cost(ends[1]).size_mb:
        return None
    steps = range(math.floor(100 * refused) + 1, math.ceil(100 * share))
    between = [i / 100 for i in steps if scaled(whole, i / 100) not in ends]
    return between[len(between) // 2] if between else None
