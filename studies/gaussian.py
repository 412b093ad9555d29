"""Optuna's Gaussian process sampler, told also of what broke a limit before it was trained."""

from __future__ import annotations

import copy
import importlib.util
import math
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler
from optuna.trial import FrozenTrial, TrialState

from ado_nas.errors import ConfigError
from studies.axes import VALUES

NEEDED = "torch"


class GaussianSampler(GPSampler):
    """Proposes where the dominated volume is expected to grow most, within the limits.

    Optuna's own looks at complete trials alone and would walk into a limit again and again, since
    what breaks one is never trained. Its violations are known, though, and often its costs.
    """

    def _sample_relative_impl(
        self,
        study: Study,
        completed_trials: list[FrozenTrial],
        running_trials: list[FrozenTrial],
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        known = [*completed_trials, *over_limits(study, completed_trials)]
        drawn: dict[str, Any] = super()._sample_relative_impl(
            study, known, running_trials, search_space
        )
        return drawn


def over_limits(study: Study, complete: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that broke a limit before they were scored, as a model of all trials needs them.

    Args:
        study: of three objectives, see `studies.axes`.
        complete: its complete trials, at least one.

    Returns:
        Copies with values: the mean gap of the complete ones, which says nothing, and the costs
        that were found; for a cost that was not, the largest that is known.
    """
    pruned = study._get_trials(deepcopy=False, states=(TrialState.PRUNED,), use_cache=True)
    columns = list(zip(*(t.values for t in complete), strict=True))
    gap = sum(columns[0]) / len(complete)
    found = []
    for trial in pruned:
        if max(trial.constraints.values(), default=0.0) > 0:
            filled = copy.copy(trial)
            costs = zip(VALUES[1:], columns[1:], strict=True)
            filled.values = [gap, *(_cost(trial, name, max(known)) for name, known in costs)]
            found.append(filled)
    return found


def check_installed() -> None:
    """Refuse a Gaussian process where what it needs is missing.

    Raises:
        ConfigError: torch is not installed.
    """
    if importlib.util.find_spec(NEEDED) is None:
        raise ConfigError(
            f"sampler 'gp' needs {NEEDED}, which an extra installs: "
            "uv sync --extra gp; or search with --sampler tpe"
        )


def _cost(trial: FrozenTrial, name: str, largest: float) -> float:
    value = trial.user_attrs.get(name)
    return math.log(value) if isinstance(value, float) and value > 0 else largest
