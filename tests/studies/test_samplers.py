from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from ado_nas.errors import ConfigError
from search_spaces.space import Space, anchors
from studies.claims import Claim, claim
from studies.config import resolve
from studies.gaussian import over_limits
from studies.samplers import SAMPLERS, DistinctSampler, make_sampler
from studies.session import Session, open_session

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
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, [float(cost), -float(cost), 1.0 / (cost + 1)])
    return [t.params for t in study.trials]


def test_nsga2_breeds_from_what_was_enqueued() -> None:
    base = make_sampler("nsga2", 0, 12, startup=4)
    sampler = DistinctSampler(base, SMALL, lambda *_: set(), str, 0)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    for i in range(4):
        drawn = {d.name: d.choices[i % len(d.choices)] for d in SMALL.dimensions}
        study.enqueue_trial(drawn)
    for _ in range(5):
        trial = study.ask()
        for d in SMALL.dimensions:
            trial.suggest_categorical(d.name, d.choices)
        study.tell(trial, [float(trial.number), -float(trial.number)])
    key = "NSGAIISampler:generation"
    assert [t.system_attrs[key] for t in study.trials] == [0, 0, 0, 0, 1]


needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra gp")
NAMES = [n for n in SAMPLERS if n != "gp"]  # which takes seconds for each draw


@pytest.mark.parametrize("name", NAMES)
def test_sampler_proposes_every_candidate_of_a_small_space_before_any_again(name: str) -> None:
    drawn = run(name, SMALL, 14)
    distinct = [p for i, p in enumerate(drawn) if p not in drawn[:i]]
    assert len(distinct) == 12
    assert drawn[:12] == distinct


@pytest.mark.parametrize("name", NAMES)
def test_sampler_repeats_when_seeded_alike(name: str) -> None:
    assert run(name, Space(), 14, seed=3) == run(name, Space(), 14, seed=3)


@pytest.mark.parametrize("name", NAMES)
def test_anchors_come_first(name: str) -> None:
    assert run(name, Space(), 3) == anchors(Space())


def test_startup_fits_the_number_of_trials() -> None:
    starts = [make_sampler("tpe", 0, n)._n_startup_trials for n in (3, 12, 24, 300)]  # type: ignore[attr-defined]
    assert starts == [4, 4, 8, 10]
    sizes = [make_sampler("nsga2", 0, n)._population_size for n in (12, 24, 300)]  # type: ignore[attr-defined]
    assert sizes == [4, 8, 24]
    starts = [make_sampler("gp", 0, n)._n_startup_trials for n in (12, 24, 100)]  # type: ignore[attr-defined]
    assert starts == [4, 8, 10]
    assert make_sampler("tpe", 0, 24, startup=17)._n_startup_trials == 17  # type: ignore[attr-defined]


def test_random_search_is_worse_than_tpe_on_what_can_be_learned() -> None:
    def best(name: str) -> float:
        total = 0.0
        for seed in range(4):
            drawn = run(name, Space(), 40, seed)[3:]
            total += sum(Space().steps.index(p["steps"]) == 0 for p in drawn)
        return total

    assert best("tpe") > best("random")


def limited(name: str, trained: int, seed: int = 0) -> tuple[list[bool], list[bool]]:
    """Search where the best gap lies beyond a limit that stops a candidate before it trains.

    Returns:
        Of each trial whether a model proposed it, and whether it met the limit.
    """
    space = Space()
    base = make_sampler(name, seed, trained)
    proposed: list[bool] = []
    own = base.sample_relative

    def sample_relative(*words: Any) -> dict[str, Any]:
        drawn = own(*words)
        proposed.append(bool(drawn))
        return drawn

    base.sample_relative = sample_relative  # type: ignore[method-assign]
    study = optuna.create_study(directions=["minimize"] * 3, sampler=base)
    met: list[bool] = []
    while sum(met) < trained and len(met) < 9 * trained:
        trial = study.ask({d.name: CategoricalDistribution(d.choices) for d in space.dimensions})
        size = 1.0 + sum(d.choices.index(trial.params[d.name]) for d in space.dimensions)
        trial.set_constraint("size", size / 7 - 1)
        trial.set_constraint("retention", 0.0)
        met.append(size <= 7)
        if met[-1]:
            study.tell(trial, [math.log(1 + 9 / size), math.log(size), math.log(size)])
        else:
            trial.set_user_attr("size_mb", size)
            study.tell(trial, state=TrialState.PRUNED)
    return proposed[: len(met)], met


@pytest.mark.parametrize("trials", [12, 24])
@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_model_proposes_most_trials_of_a_small_budget(name: str, trials: int) -> None:
    proposed, met = limited(name, trials)
    assert sum(met) == trials
    assert sum(p and m for p, m in zip(proposed, met, strict=True)) >= trials / 2


@pytest.mark.parametrize(
    ("name", "trials"),
    [("tpe", 24), pytest.param("gp", 12, marks=[needs_torch, pytest.mark.slow])],
)
def test_model_keeps_within_a_limit_that_stops_candidates_before_they_train(
    name: str, trials: int
) -> None:
    _, chance = limited("random", 60)
    proposed, met = limited(name, trials)
    assert sum(p and m for p, m in zip(proposed, met, strict=True)) >= trials / 2
    learned = [m for p, m in zip(proposed, met, strict=True) if p]
    assert sum(learned) / len(learned) > 1.4 * sum(chance) / len(chance)


def test_over_limits_takes_known_costs_and_else_the_largest() -> None:
    space = {"a": CategoricalDistribution([0, 1])}

    def trial(state: TrialState, values: list[float] | None, violation: float, **known: float):  # type: ignore[no-untyped-def]
        return optuna.create_trial(
            state=state, params={"a": 0}, distributions=space, values=values,
            user_attrs=known, constraints={"size": violation},
        )  # fmt: skip

    study = optuna.create_study(directions=["minimize"] * 3)
    complete = [trial(TrialState.COMPLETE, v, 0.0) for v in ([1.0, 5.0, 2.0], [3.0, 4.0, 7.0])]
    study.add_trials([*complete, trial(TrialState.PRUNED, None, 0.0)])
    study.add_trial(trial(TrialState.PRUNED, None, 0.5, size_mb=math.e))
    (found,) = over_limits(study, complete)
    assert found.values == [2.0, 5.0, 1.0]
    assert found.constraints == {"size": 0.5}
    assert study.trials[3].values is None


def test_gp_is_refused_with_what_installs_it_where_torch_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve("smoke", flags={"sampler": "tpe"})
    monkeypatch.setattr("studies.gaussian.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs torch.*uv sync --extra gp"):
        resolve("smoke", flags={"sampler": "gp"})


def test_qmc_is_one_sequence_whoever_draws(
    make_session: Callable[..., Session], tmp_path: Path
) -> None:
    def draw(sessions: Iterable[Session]) -> list[dict[str, Any]]:
        claims = [claim(s, "host/a") for s in sessions]
        return [c.trial.params for c in claims if isinstance(c, Claim)]

    alone = make_session(study="alone", sampler="qmc", trials=9)
    first = make_session(study="together", sampler="qmc", trials=9)
    second = open_session(first.config, tmp_path, worker=1)
    with contextlib.closing(second.store):
        drawn = draw([first, second, second, first])
    resumed = open_session(first.config, tmp_path)
    with contextlib.closing(resumed.store):
        drawn += draw([resumed, resumed])
    assert drawn == draw([alone] * 6)
    assert len({str(params) for params in drawn}) == 6
