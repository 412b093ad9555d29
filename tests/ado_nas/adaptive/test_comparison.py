"""What rows are chosen by, and what is said of the chosen one."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive import comparison, finding
from ado_nas.adaptive.choice import Choice, Judged
from ado_nas.adaptive.comparison import KEPT, Comparison
from ado_nas.adaptive.goal import ScheduleGoal
from ado_nas.adaptive.learning import Learned, plain
from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.refine import Refinement
from ado_nas.diffusion.levels import karras_levels
from ado_nas.progress import silent
from ado_nas.quality.intervals import Replicates
from ado_nas.specs import QualitySpec, SamplerSpec, TaskSpec, steps

RECIPE = Recipe("ddim", "dp", karras_levels(4, 0.02, 40.0), cost="power 0.5")
TASK = TaskSpec(quality=QualitySpec(noise_seed=7, report_noise_seed=8), reference=SamplerSpec())


def judge(gap: float) -> Any:
    """One to whom images of noise 7 have that gap, others thrice, of 6 levels twice as much."""

    def score(images: np.ndarray) -> Any:
        own = gap if images[0, 0, 0, 0] == 7 else 3 * gap
        own *= 2 if images[0, 0, 1, 0] == 6 else 1
        parts = Replicates([own, own + 0.1] * 10, [own, own + 0.1] * 10)
        return SimpleNamespace(
            gap=own, gap_interval=(own, own + 1), replicates=parts, floor=0.5, sliced=own / 10
        )

    return SimpleNamespace(score=score)


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    def generate(unet: object, solver: object, levels: Any, start: Any, *_: Any) -> np.ndarray:
        images = np.full((4, 2, 2, 1), float(start))
        images[:, 0, 1] = len(levels)
        return images

    monkeypatch.setattr(comparison, "generate", generate)
    monkeypatch.setattr(comparison, "slimmed", lambda unet, shares: unet)
    monkeypatch.setattr(Comparison, "_timed", lambda *_: {"latency_ms": 1.0})
    bench: Any = SimpleNamespace(
        task=TASK,
        digests={"data": "d"},
        judge=judge(1.0),
        teacher=SimpleNamespace(unet=None),
        start=lambda seed: seed,
        labels=lambda: None,
    )
    parts = {"generated": [1.0, 1.1] * 10, "real": [1.0, 1.1] * 10}

    def again() -> tuple[Any, dict[str, Any]]:
        return judge(2.0), {"gap": 5.0, "replicates": parts}

    bank: Any = SimpleNamespace(key="b")
    reference = {"gap": 1.0, "replicates": parts}
    return Comparison(bench, bank, reference, None, tmp_path, silent, functools.cache(again))


def test_rows_are_judged_on_the_search_noise_and_confirmed_on_the_reports(
    found: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = found.row(RECIPE)
    assert (row["schedule"], row["cost"]) == ("dp", "power 0.5")
    assert row["gap"] == 1.0 and row["retention"] == pytest.approx(1.0)
    again = found.confirmed(RECIPE)
    assert again["gap"] == 6.0 and again["gap_interval"] == [6.0, 7.0]
    assert again["retention"] == pytest.approx((5.0 + 0.5) / (6.0 + 0.5))
    low, high = again["retention_interval"]
    assert low < again["retention"] < high
    monkeypatch.setattr(comparison, "generate", None)
    assert found.confirmed(RECIPE) == again  # what was confirmed is not judged again


def test_speed_is_timed_again_where_its_unit_changed(
    found: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[float] = []

    def _timed(self: Comparison, recipe: Recipe) -> dict[str, Any]:
        assert self.yard is not None
        timed.append(self.yard.ms)
        return {"latency_ms": 0.5 * self.yard.ms}

    monkeypatch.setattr(Comparison, "_timed", _timed)
    for ms in (100.0, 120.0, 100.0):
        beside = dataclasses.replace(found, yard=SimpleNamespace(ms=ms))  # type: ignore[arg-type]
        assert beside.row(RECIPE)["latency_ms"] == 0.5 * ms
    assert timed == [100.0, 120.0]


def test_ratio_is_that_of_the_confirmed_gaps_on_common_noise(found: Comparison) -> None:
    other = dataclasses.replace(RECIPE, levels=karras_levels(3, 0.02, 40.0))
    told = found.ratio(RECIPE, other)
    assert told["ratio"] == 1.0  # both have one gap here, and what is common to both cancels
    assert told["ratio_interval"] == (1.0, 1.0)
    worse = dataclasses.replace(RECIPE, levels=karras_levels(5, 0.02, 40.0))
    told = found.ratio(worse, RECIPE)
    assert told["ratio"] == 2.0 and 1.5 < told["ratio_interval"][0] <= told["ratio_interval"][1]
    told = found.ratio(RECIPE, worse)
    assert told["ratio"] == 0.5 and told["ratio_interval"][1] < 0.7


def test_best_solver_at_each_number_alone_is_searched_by_the_gap(
    found: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = {"ddim": 9.0, "dpmpp_2m": 2.0, "heun": 3.0}
    asked: list[tuple[str, int, int]] = []

    def learned(self: Comparison, solver: str, nfe: int) -> Learned:
        assert self.refinement is not None
        asked.append((solver, nfe, self.refinement.direct))
        levels = karras_levels(steps(solver, nfe), 0.02, 40.0)
        own = Recipe(solver, "direct" if self.refinement.direct else "refined", levels)
        told = 1.0 if self.refinement.told else 50.0  # levels alone choose what is searched
        return Learned(own, own, [{"gap": told}, {"gap": gaps[solver]}])

    monkeypatch.setattr(Comparison, "learned", learned)
    monkeypatch.setattr(comparison, "closed_forms", lambda *_: iter(()))
    searched = dataclasses.replace(found, refinement=Refinement(direct=7))
    rows = list(comparison.compare(searched, list(gaps), [1, 5, 8]))
    assert [cell[:2] for cell in asked if cell[2]] == [("dpmpp_2m", 5), ("heun", 7)]
    assert [(row["solver"], row["nfe"], row["schedule"]) for row in rows] == [
        ("ddim", 1, "refined"),
        ("ddim", 5, "refined"),
        ("ddim", 8, "refined"),
        ("dpmpp_2m", 1, "refined"),
        ("dpmpp_2m", 5, "direct"),
        ("dpmpp_2m", 8, "refined"),
        ("heun", 1, "refined"),
        ("heun", 5, "refined"),
        ("heun", 7, "direct"),
    ]


@pytest.mark.parametrize("direct", [0, 7])
def test_gradient_and_search_go_on_from_levels_that_were_learned_once(
    direct: int, found: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Refinement, Any]] = []

    def learn(_: Any, bank: Any, solver: str, nfe: int, spec: Refinement, *rest: Any) -> Learned:
        asked.append((solver, spec, rest[1]))
        own = dataclasses.replace(RECIPE, solver="ddim", cost=f"{solver} {len(asked)}")
        return Learned(own, own, [{"schedule": "dp", "cost": "", "gap": 1.0}])

    monkeypatch.setattr(comparison, "learn", learn)
    spec = Refinement(direct=direct)
    for solver in ("generalized", "dpmpp_2m", "generalized"):
        found.by(spec).learned(solver, 4)
    first, second, third = asked
    assert [one[0] for one in asked] == ["dpmpp_2m", "dpmpp_2m", "generalized"]
    assert first[1:] == (plain(spec), None)
    assert second[1] == third[1] == spec
    assert [one[2].recipe.cost for one in (second, third)] == ["dpmpp_2m 1", "dpmpp_2m 2"]


@pytest.mark.parametrize(
    ("kept", "low", "latency_ms", "said"),
    [
        (KEPT, 0.9, None, True),
        (KEPT, 0.95, None, False),
        (0.9, 0.8, None, False),  # was not chosen because it keeps 0.95
        (KEPT, 0.9, 5.0, False),
        (KEPT, None, None, True),  # its images are not finite
    ],
)
def test_doubt_is_said_where_a_choice_for_what_it_keeps_is_not_confirmed(
    kept: float, low: float | None, latency_ms: float | None, said: bool
) -> None:
    interval = None if low is None else (low, 1.0)
    again = {"retention": low or 0.0, "retention_interval": interval}
    judged: Any = SimpleNamespace(confirmed=lambda recipe: again)
    goal = ScheduleGoal(latency_ms=latency_ms)
    told = finding._confirmed(judged, {"recipe": RECIPE.facts(), "retention": kept}, goal)
    assert (f"only {low or 0:g}" in told["note"]) is bool(told["note"]) is said


def test_batch_that_a_latency_chose_is_part_of_what_is_saved_but_not_of_what_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def settle(rows: list[Judged], *_: Any, **__: Any) -> Any:
        return SimpleNamespace(choice=Choice(rows[1], 3, 1.0), facts=lambda: {"batch": 3})

    monkeypatch.setattr(finding, "settle", settle)
    monkeypatch.setattr(finding, "measured_call_times", lambda *_, **__: None)
    asked: list[Recipe] = []

    def confirmed(recipe: Recipe) -> dict[str, Any]:
        asked.append(recipe)
        return {"retention_interval": (0.9, 1.0)}

    judged: Any = SimpleNamespace(
        bench=SimpleNamespace(teacher=SimpleNamespace(unet=None), task=TASK),
        progress=silent,
        confirmed=confirmed,
    )
    rows = [{"recipe": RECIPE.facts(), "retention": r, "nfe": 4} for r in (0.5, 1.0)]
    best, tuned = finding._timed(judged, rows, 5.0)
    assert best["retention"] == 1.0 and best["recipe"]["batch"] == 3
    assert tuned == {"tuned": {"batch": 3}} and "batch" not in rows[1]["recipe"]
    finding._confirmed(judged, best, ScheduleGoal(latency_ms=5.0))
    assert asked[0].facts() == RECIPE.facts()


@pytest.mark.parametrize(("kept", "chosen"), [((0.96, 0.99, 0.7), [0, 1]), ((0.5, 0.9, 0.7), [1])])
def test_fastest_is_looked_for_among_what_keeps_enough(
    kept: tuple[float, ...], chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fastest(rows: list[Judged], *_: Any) -> Choice:
        assert [row.retention for row in rows] == [kept[i] for i in chosen]
        return Choice(rows[0], 4, 2.0)

    monkeypatch.setattr(finding, "fastest", fastest)
    table = SimpleNamespace(facts=dict)
    monkeypatch.setattr(finding, "measured_call_times", lambda *_, **__: table)
    bench = SimpleNamespace(teacher=SimpleNamespace(unet=None), task=TASK)
    judged: Any = SimpleNamespace(bench=bench, progress=silent)
    rows = [{"recipe": RECIPE.facts(), "retention": r, "nfe": 4, "gap": 1.0} for r in kept]
    best, told = finding._timed(judged, rows, None)
    assert best["retention"] == kept[chosen[0]] and best["recipe"]["batch"] == 4
    assert told["fastest"]["latency_ms"] == 2.0 and told["fastest"]["images_per_second"] == 500
