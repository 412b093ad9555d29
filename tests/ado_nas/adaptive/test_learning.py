"""What is kept of closed forms and learned levels, with gaps that are made up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive import learning
from ado_nas.adaptive.direct import STEPS
from ado_nas.adaptive.learning import (
    CHECKED,
    GLANCED,
    KEPT,
    Learned,
    learn,
    learned_levels,
    plain,
)
from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.refine import Refinement
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.schedules import cheapest_path, deviation_costs, jump_costs
from ado_nas.distillation.trajectories import Bank, implied_denoised
from ado_nas.specs import CLOSED_FORMS, TrajectorySpec

PATHS = ("first", "second", "third", "fourth")
BENCH: Any = SimpleNamespace(
    task=SimpleNamespace(trajectories=TrajectorySpec(), reference=SimpleNamespace(guidance=1.0)),
    teacher=SimpleNamespace(unet=SimpleNamespace(spec=SimpleNamespace(sigma_data=0.5))),
    features=SimpleNamespace(lazily=None),
)


def learned(gaps: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Makes up gaps by schedule, a glance telling the opposite; returns what will be checked."""
    asked: list[tuple[str, int]] = []

    def checked_gap(_: object, recipe: Recipe, most: int = CHECKED) -> float:
        asked.append((recipe.schedule, most))
        gap = gaps[recipe.schedule]
        return gap if most == CHECKED else 1 / gap

    def learned_levels(_: object, solver: str, nfe: int) -> Iterator[Recipe]:
        for name in PATHS:
            yield Recipe(solver, name, karras_levels(nfe, 0.02, 40.0), cost=f"of {name}")

    monkeypatch.setattr(learning, "checked_gap", checked_gap)
    monkeypatch.setattr(learning, "learned_levels", learned_levels)
    return asked


@pytest.mark.parametrize("best", CLOSED_FORMS)
def test_best_closed_form_is_kept_where_learned_levels_lose_whatever_a_glance_says(
    best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = {name: 3.0 for name in CLOSED_FORMS} | {name: 5.0 for name in PATHS} | {best: 2.0}
    asked = learned(gaps, monkeypatch)
    found = learn(BENCH, None, "ddim", 4)  # type: ignore[arg-type]
    assert found.recipe.schedule == found.levels_only.schedule == best
    assert {name for name, most in asked if most == GLANCED} == set(PATHS)
    checked = [check["schedule"] for check in found.checks]
    assert checked[:-KEPT] == list(CLOSED_FORMS) and set(checked[-KEPT:]) <= set(PATHS)


def test_glance_chooses_the_learned_levels_that_are_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gaps = {name: 9.0 for name in CLOSED_FORMS} | dict(
        zip(PATHS, (1.0, 4.0, 2.0, 3.0), strict=True)
    )
    learned(gaps, monkeypatch)
    found = learn(BENCH, None, "ddim", 4)  # type: ignore[arg-type]
    # The glance is wrong here, and shows that it is what chooses: it saw 4 and 3 as the best.
    assert found.recipe.schedule == "fourth"
    np.testing.assert_array_equal([c["gap"] for c in found.checks[-KEPT:]], [4.0, 3.0])
    assert [c["cost"] for c in found.checks[-KEPT:]] == ["of second", "of fourth"]


def test_learned_levels_name_the_cost_that_found_them() -> None:
    rng = np.random.default_rng(0)
    levels = karras_levels(12, 0.02, 40.0)
    states = rng.standard_normal((13, 8, 2, 2, 1)).astype(np.float32)
    states *= (levels + 0.5).astype(np.float32).reshape(13, 1, 1, 1, 1)
    bank = Bank(states, None, levels, np.zeros((13, 13)), "key", 0.5)
    found = list(learned_levels(bank, "ddim", 4))
    assert [(r.schedule, r.cost) for r in found] == [
        ("dp", "power 0"),
        ("dp", "power 0.5"),
        ("dp", "power 1"),
        ("gits", "deviation"),
    ]
    denoised = implied_denoised(states, levels)
    for power, recipe in zip((0.0, 0.5, 1.0), found, strict=False):
        costs = jump_costs(states, denoised, levels, 0.5, power)
        np.testing.assert_array_equal(recipe.levels, levels[cheapest_path(costs, 4)])
    gits = cheapest_path(deviation_costs(states, denoised, levels), 4, 1.15)
    np.testing.assert_array_equal(found[-1].levels, levels[gits])


@pytest.mark.parametrize("told", [True, False])
def test_corrections_are_learned_whether_or_not_the_network_is_told_other_levels(
    told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def refine(unet: object, recipe: Recipe, bank: object, features: object, *rest: Any) -> Recipe:
        asked.append((recipe.solver, rest[0].told))
        corrections = None if recipe.corrections is None else recipe.corrections + 0.1
        name = f"moved {recipe.solver}"
        return dataclasses.replace(recipe, schedule=name, corrections=corrections)

    moved = {"moved dpmpp_2m": 2.0, "moved generalized": 1.0}
    learned({name: 3.0 for name in (*CLOSED_FORMS, *PATHS)} | moved, monkeypatch)
    monkeypatch.setattr(learning, "refine", refine)
    spec = Refinement(told=told, direct=0)
    found = learn(BENCH, None, "generalized", 4, spec)  # type: ignore[arg-type]
    own = [("dpmpp_2m", False), *[("dpmpp_2m", True)] * told]
    assert asked == [*own, ("generalized", told)]
    assert found.recipe.corrections is not None and found.recipe.corrections.min() == 0.1
    assert found.levels_only.solver == "dpmpp_2m"


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Where direct searches begin, what limits them, and how many gaps they may measure."""
    asked: list[tuple[str, str, int]] = []

    def directly(_: object, bank: object, recipe: Recipe, known: Recipe, *more: Any) -> Recipe:
        asked.append((recipe.schedule, known.schedule, more[0]))
        return dataclasses.replace(recipe, schedule="direct")

    monkeypatch.setattr(learning, "directly", directly)
    monkeypatch.setattr(learning, "refine", lambda _, recipe, *rest: _named(recipe, rest[2].told))
    return asked


def _named(recipe: Recipe, told: bool) -> Recipe:
    return dataclasses.replace(recipe, schedule="told" if told else "refined")


@pytest.mark.parametrize(("gap", "kept"), [(1.0, "direct"), (2.5, "refined")])
def test_direct_search_from_the_best_and_the_best_closed_form_is_kept_where_it_proves_better(
    gap: float, kept: str, searches: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = {name: 4.0 for name in (*CLOSED_FORMS, *PATHS)} | {"logsnr": 3.0}
    learned(every | {"refined": 2.0, "direct": gap, "told": 9.0}, monkeypatch)
    found = learn(BENCH, None, "ddim", 4, Refinement(direct=7))  # type: ignore[arg-type]
    assert searches == [("refined", "logsnr", 7), ("logsnr", "logsnr", 7)]
    assert found.recipe.schedule == found.levels_only.schedule == kept
    last = [check["schedule"] for check in found.checks[-4:]]
    assert last == ["refined", "direct", "direct", "told"]


def test_direct_search_needs_no_gradient_of_the_solver(
    searches: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    learned({name: 3.0 for name in (*CLOSED_FORMS, *PATHS)} | {"direct": 1.0}, monkeypatch)
    found = learn(BENCH, None, "heun", 5, Refinement())  # type: ignore[arg-type]
    assert found.recipe.schedule == "direct" and len(searches) == 1


@pytest.mark.parametrize(
    ("nfe", "refinement"),
    [(4, None), (4, Refinement(direct=0)), (1, Refinement()), (STEPS + 1, Refinement())],
)
def test_direct_search_is_left_out_where_it_is_not_asked_for_or_not_worth_it(
    nfe: int,
    refinement: Refinement | None,
    searches: list[tuple[str, str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = (*CLOSED_FORMS, *PATHS, "refined", "told")
    learned({name: 3.0 for name in known}, monkeypatch)
    learn(BENCH, None, "ddim", nfe, refinement)  # type: ignore[arg-type]
    assert not searches


@pytest.mark.parametrize("best", ["refined", "logsnr"])
def test_learning_in_two_parts_finds_what_it_finds_in_one(
    best: str, searches: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = {name: 4.0 for name in (*CLOSED_FORMS, *PATHS)} | {"aysg": 3.5, "refined": 3.0}
    asked = learned(gaps | {best: 2.0, "direct": 1.5, "told": 1.0}, monkeypatch)
    settings, spec = ("ddim", 4), Refinement(direct=7)
    whole = learn(BENCH, None, *settings, spec)  # type: ignore[arg-type]
    once, alone = list(searches), list(asked)
    searches.clear()
    asked.clear()
    first = learn(BENCH, None, *settings, plain(spec))  # type: ignore[arg-type]
    assert first.recipe.schedule == best and not searches
    both = learn(BENCH, None, *settings, spec, base=first)  # type: ignore[arg-type]
    assert searches == once and asked == alone  # nothing is checked twice
    assert both.recipe.facts() == whole.recipe.facts() and both.checks == whole.checks
    assert both.levels_only.facts() == whole.levels_only.facts()


def test_corrections_begin_with_the_levels_that_were_learned_for_their_solver(
    searches: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    learned({"known": 2.0, "told": 1.0}, monkeypatch)
    levels = Recipe("dpmpp_2m", "known", karras_levels(4, 0.02, 40.0))
    settings, base = ("generalized", 4, Refinement()), Learned(levels, levels, [])
    found = learn(BENCH, None, *settings, base=base)  # type: ignore[arg-type]
    assert found.levels_only is levels and found.recipe.schedule == "told" and not searches
    np.testing.assert_array_equal(found.recipe.levels, levels.levels)
    assert [check["schedule"] for check in found.checks] == ["known", "told"]
