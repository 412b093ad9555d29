from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from search_spaces.space import Space, anchors
from studies.samplers import SAMPLERS, DistinctSampler, make_sampler

SMALL = Space(
    widths=("8-16", "12-24"), blocks=("1-1",), attention=("none",), activation=("relu",),
    patch=(1, 2), steps=(1, 2, 3), schedule=("dp",),
)  # fmt: skip


def run(name: str, space: Space, trials: int, seed: int = 0) -> list[dict[str, Any]]:
    def known(trials: Iterable[FrozenTrial], but: int) -> set[str]:
        return {hash_of(t.params) for t in trials if t.number != but}

    def hash_of(params: dict[str, Any]) -> str:
        return str(sorted(params.items()))

    sampler = DistinctSampler(make_sampler(name, seed, trials), space, known, hash_of, seed)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
    for params in anchors(space):
        study.enqueue_trial(params)
    for _ in range(trials):
        trial = study.ask()
        for d in space.dimensions:
            trial.suggest_categorical(d.name, d.choices)
        cost = sum(d.choices.index(trial.params[d.name]) for d in space.dimensions)
        trial.set_constraint("cost", cost - 6)
        if trial.number % 5 == 4:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, [float(cost), -float(cost), 1.0 / (cost + 1)])
    return [t.params for t in study.trials]


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_proposes_every_candidate_of_a_small_space_before_any_again(name: str) -> None:
    drawn = run(name, SMALL, 14)
    distinct = [p for i, p in enumerate(drawn) if p not in drawn[:i]]
    assert len(distinct) == 12
    assert drawn[:12] == distinct


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_repeats_when_seeded_alike(name: str) -> None:
    assert run(name, Space(), 14, seed=3) == run(name, Space(), 14, seed=3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_anchors_come_first(name: str) -> None:
    assert run(name, Space(), 3) == anchors(Space())


def test_startup_fits_the_number_of_trials() -> None:
    starts = [make_sampler("tpe", 0, n)._n_startup_trials for n in (3, 12, 24, 300)]  # type: ignore[attr-defined]
    assert starts == [4, 4, 8, 10]
    sizes = [make_sampler("nsga2", 0, n)._population_size for n in (12, 24, 300)]  # type: ignore[attr-defined]
    assert sizes == [4, 8, 24]
    assert make_sampler("tpe", 0, 24, startup=17)._n_startup_trials == 17  # type: ignore[attr-defined]


def test_random_search_is_worse_than_tpe_on_what_can_be_learned() -> None:
    def best(name: str) -> float:
        total = 0.0
        for seed in range(4):
            drawn = run(name, Space(), 40, seed)[3:]
            total += sum(Space().steps.index(p["steps"]) == 0 for p in drawn)
        return total

    assert best("tpe") > best("random")
