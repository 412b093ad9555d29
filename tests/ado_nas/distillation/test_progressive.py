from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ado_nas.distillation.attempts import Attempt, Result
from ado_nas.distillation.optimize import shortfall
from ado_nas.distillation.planner import Plan
from ado_nas.distillation.progressive import LEAST, Decision, lead, scaled, shrink
from ado_nas.measure.cost import cost
from ado_nas.optimization import OptimizationSpec
from ado_nas.quality.gate import Verdict
from ado_nas.specs import DistillationSpec, UNetSpec

UNET = UNetSpec(resolution=8, widths=(32, 64), attention=("none", "none"), time_width=64)
ERRORS = tuple(2.0**-n for n in range(12))
SPEC = OptimizationSpec(target_steps=2, training=DistillationSpec(iterations=100))


class Maker:
    """Stands for training: a rule says which attempts pass."""

    def __init__(self, passes: Callable[[Attempt], bool]):
        self.passes, self.made = passes, list[Attempt]()

    def __call__(self, attempt: Attempt) -> Result:
        self.made.append(attempt)
        kept = 1.0 if self.passes(attempt) else 0.5
        told = Verdict(kept == 1.0, kept, kept, kept, 0.95, 0, 0, 0, "" if kept == 1 else "worse")
        return Result(f"key{len(self.made)}", attempt, told, {}, Path())


def run(passes: Callable[[Attempt], bool], *stages: int) -> tuple[list[Decision], Maker]:
    maker = Maker(passes)
    found = list(lead(maker, Plan(50, stages, ERRORS, ""), UNET, SPEC))
    return found, maker


def actions(found: list[Decision]) -> list[tuple[int, int, int, str]]:
    return [
        (d.input_steps, d.result.attempt.steps, d.result.attempt.iterations, d.action)
        for d in found
    ]


def test_every_stage_starts_from_the_one_before() -> None:
    found, maker = run(lambda attempt: True, 6, 2)
    assert actions(found) == [(50, 6, 100, "passed"), (6, 2, 100, "passed")]
    assert [a.parent for a in maker.made] == ["", "key1"]


def test_failed_stage_is_rolled_back_and_trained_for_twice_as_long() -> None:
    found, maker = run(lambda a: a.steps == 6 or a.iterations == 200, 6, 2)
    assert actions(found)[1:] == [(6, 2, 100, "doubled"), (6, 2, 200, "passed")]
    assert [a.parent for a in maker.made] == ["", "key1", "key1"]


def test_stage_is_put_between_where_more_training_does_not_help() -> None:
    found, maker = run(lambda a: a.steps > 2 or a.parent == "key4", 6, 2)
    assert actions(found)[1:] == [
        (6, 2, 100, "doubled"),
        (6, 2, 200, "inserted"),
        (6, 4, 100, "passed"),
        (4, 2, 100, "passed"),
    ]
    assert maker.made[-1].parent == "key4"


def test_it_ends_with_the_best_that_passed() -> None:
    found, _ = run(lambda a: a.steps > 3, 8, 3)
    assert [d.action for d in found] == [
        *("passed", "doubled", "inserted", "passed"),  # 8, 3, 3 again, 5
        *("doubled", "stopped"),
    ]
    assert found[-1].note == "worse"


def test_it_ends_where_nothing_passes() -> None:
    found, maker = run(lambda a: False, 4)
    assert [d.action for d in found] == ["doubled", "inserted", "doubled", "stopped"]
    assert {a.parent for a in maker.made} == {""}


def test_chained_stages_have_no_number_between() -> None:
    maker = Maker(lambda a: False)
    spec = dataclasses.replace(SPEC, method="chained")
    found = list(lead(maker, Plan(50, (4, 2), ERRORS, ""), UNET, spec))
    assert [d.action for d in found] == ["doubled", "stopped"]


def first(steps: int = 2) -> Result:
    told = Verdict(True, 1, 1, 1, 0.95, 0, 0, 0, "")
    return Result("first", Attempt(UNET, steps, "anchored", 100), told, {}, Path())


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.15])
def test_smallest_size_that_passes_is_found(limit: float) -> None:
    maker = Maker(lambda a: cost(a.unet).size_mb >= limit)
    found = list(shrink(maker, first(), dataclasses.replace(SPEC, compress="auto"), 2))
    passed = [cost(d.result.attempt.unet).size_mb for d in found if d.result.verdict.passed]
    assert passed == sorted(passed, reverse=True) and passed
    sizes = {cost(scaled(UNET, i / 100)).size_mb for i in range(10, 101)}
    assert passed[-1] < 1.11 * min(s for s in sizes if s >= limit)
    parents = {a.parent for a in maker.made}
    keys = {f"key{i + 1}" for i, a in enumerate(maker.made) if maker.passes(a)}
    assert parents <= {"first", *keys}


def test_given_size_is_the_widest_that_is_not_larger() -> None:
    maker = Maker(lambda a: True)
    found = list(shrink(maker, first(), dataclasses.replace(SPEC, compress="0.08"), 2))
    sizes = [cost(d.result.attempt.unet).size_mb for d in found]
    wider = [cost(scaled(UNET, s / 100)).size_mb for s in range(10, 101)]
    assert sizes[-1] == max(s for s in wider if s <= 0.08)
    assert len(sizes) > 1  # in stages


def test_size_that_no_network_has_is_told_from_one_that_did_not_pass() -> None:
    least = cost(scaled(UNET, LEAST)).size_mb
    for size in (0.9 * least, 1.1 * least):
        spec = dataclasses.replace(SPEC, compress=f"{size:.6f}")
        maker = Maker(lambda a: cost(a.unet).size_mb > 1.2 * least)
        passed = [d.result for d in shrink(maker, first(), spec, 2) if d.result.verdict.passed]
        told = shortfall(spec, passed[-1], True, UNET)
        found = cost(passed[-1].attempt.unet).size_mb
        if size < least:
            assert told.startswith(f"no network of this shape is as small as {spec.size_mb:g} MB")
            assert told.endswith(f"the smallest has {least:.3g}; {found:.3g} MB passed the gate")
        else:
            assert told == f"{spec.size_mb:g} MB did not pass the gate; {found:.3g} MB did"
    spec = dataclasses.replace(SPEC, compress=f"{0.9 * least:.6f}")
    smallest = dataclasses.replace(first(), attempt=Attempt(scaled(UNET, LEAST), 2, "anchored", 9))
    assert "no network of this shape" in shortfall(spec, smallest, True, UNET)
    assert not shortfall(dataclasses.replace(SPEC, compress="auto"), smallest, True, UNET)
