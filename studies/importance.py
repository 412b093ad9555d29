"""How much each dimension of a space decides about each objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial

from studies.axes import VALUES, axes
from studies.record import TrialRecord

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces the study in memory

CHANCE = "(chance)"  # a dimension without any meaning, to see what noise alone comes to
ENOUGH = 8  # scored trials, below which nothing is told apart from chance
SEED = 0  # of the forest and of the dimension of chance
TREES, DEPTH = 24, 6  # the time of fANOVA grows with the leaves; 64 leaves hold main effects


def importances(trials: Sequence[TrialRecord], floor: float) -> dict[str, dict[str, float]]:
    """The share of each objective's variance that each dimension explains, by fANOVA.

    fANOVA averages a random forest over the whole space, so a choice that the sampler tried in
    good company only is not credited with its company. It runs on an in-memory study, so that a
    frozen record is enough. Shares of dimensions whose choices come together remain unsure.

    Args:
        trials: those without scores are left out.
        floor: of the gap, above 0.

    Returns:
        For gap, latency_ms and size_mb the share by dimension, the most important first, and
        `CHANCE`; an objective that is the same everywhere is left out. Nothing where fewer than
        `ENOUGH` trials were scored or no dimension has two choices.

    Source:
        Hutter, Hoos, Leyton-Brown: An Efficient Approach for Assessing Hyperparameter Importance
        (ICML 2014); Optuna's evaluator.
    """
    scored = [t for t in trials if all(name in t.values for name in VALUES)]
    kinds = _distributions(scored)
    if len(scored) < ENOUGH or not kinds:
        return {}
    points = np.array([axes(t.values, floor) for t in scored])
    study = _study(scored, points, kinds)
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=SEED)
    found = {}
    for i, name in enumerate(VALUES):
        if np.ptp(points[:, i]) > 0:
            shares = evaluator.evaluate(study, target=_value(i))
            found[name] = {k: float(v) for k, v in shares.items()}
    return found


def _value(i: int) -> Callable[[FrozenTrial], float]:
    def value(trial: FrozenTrial) -> float:
        return float(trial.values[i])

    return value


def _distributions(trials: Sequence[TrialRecord]) -> dict[str, BaseDistribution]:
    """Of the dimensions that every trial has and that differ between them."""
    shared = set.intersection(*(set(t.params) for t in trials)) if trials else set()
    seen = {n: sorted({t.params[n] for t in trials}, key=_order) for n in sorted(shared)}
    return {n: CategoricalDistribution(v) for n, v in seen.items() if len(v) > 1}


def _order(value: Any) -> tuple[bool, Any, str]:
    number = isinstance(value, (int, float))
    return not number, value if number else 0, str(value)


def _study(
    trials: Sequence[TrialRecord],
    points: np.ndarray[Any, np.dtype[np.float64]],
    kinds: dict[str, BaseDistribution],
) -> optuna.Study:
    study = optuna.create_study(
        storage=optuna.storages.InMemoryStorage(), directions=["minimize"] * len(VALUES)
    )
    draws = np.random.default_rng(SEED).permutation(np.arange(len(trials)) % 4)
    every = {**kinds, CHANCE: CategoricalDistribution(range(4))}
    for trial, point, draw in zip(trials, points, draws, strict=True):
        params = {n: trial.params[n] for n in kinds} | {CHANCE: int(draw)}
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions=every, values=[float(v) for v in point]
            )
        )
    return study
