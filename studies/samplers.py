"""Who proposes the next candidate, and how a candidate that is known already is avoided."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from search_spaces.space import Space
from studies.gaussian import GaussianSampler

SAMPLERS = ("tpe", "nsga2", "random", "qmc", "gp")
DRAWS = 2  # of the sampler's own, before something new is looked for near the last one
RANDOM_DRAWS = 64
ENUMERABLE = 4096  # in spaces up to this size, something new is found if there is any
FIRST_GENERATION = {NSGAIISampler._get_generation_key(): 0}
"""Marks a trial made elsewhere, which NSGA-II would not take for one of its own."""

Known = Callable[[Iterable[FrozenTrial], int], set[str]]


def make_sampler(name: str, seed: int, trials: int, startup: int = 0) -> BaseSampler:
    """A sampler whose start-up fits the number of trials.

    Args:
        name: one of `SAMPLERS`.
        seed: of its random draws.
        trials: how many the study is to have.
        startup: trials drawn at random first (tpe, gp) or in a generation (nsga2); 0: a third of
            `trials`, but 4 to 10 (tpe, gp) or 4 to 24 (nsga2).

    Returns:
        The sampler.
    """
    third = max(4, trials // 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name == "random":
            return RandomSampler(seed=seed)
        if name == "qmc":
            return QMCSampler(
                seed=seed,
                scramble=True,
                warn_independent_sampling=False,
                warn_asynchronous_seeding=False,
            )
        if name == "nsga2":
            return NSGAIISampler(population_size=startup or min(24, third), seed=seed)
        if name == "gp":
            return GaussianSampler(
                seed=seed,
                n_startup_trials=startup or min(10, third),
                warn_independent_sampling=False,
            )
        return TPESampler(n_startup_trials=startup or min(10, third), seed=seed, multivariate=True)


class DistinctSampler(BaseSampler):
    """Draws all dimensions of a flat space at once, and again while the result is known already.

    Args:
        base: who draws.
        space: the dimensions.
        known: the hashes of candidates among trials, but for those of the trial of that number.
        hash_of: the hash of the candidate that these choices make.
        seed: of the random draws that follow when the base insists.
    """

    def __init__(
        self,
        base: BaseSampler,
        space: Space,
        known: Known,
        hash_of: Callable[[dict[str, Any]], str],
        seed: int,
    ) -> None:
        self._base = base
        self._known = known
        self._hash_of = hash_of
        self._random = random.Random(seed)
        self._space = {d.name: CategoricalDistribution(d.choices) for d in space.dimensions}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All dimensions; none where the trial was enqueued with all of them."""
        fixed = trial.system_attrs.get("fixed_params", {})
        return {} if self._space.keys() <= fixed.keys() else {**self._space}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A draw that is new, if one was found."""
        params: dict[str, Any] = {}
        if not search_space:
            return params
        # Shared with the base's own reading of the trials, which costs more than drawing does.
        known = self._known(study._get_trials(deepcopy=False, use_cache=True), trial.number)
        for params in self._proposals(study, trial):
            if self._hash_of(params) not in known:
                break
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """One dimension, as the base draws it."""
        return self._base.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Pass the call on; an enqueued trial is of a generation, too, or none bred from it."""
        self._base.before_trial(study, trial)
        if isinstance(self._base, NSGAIISampler):
            self._base.get_trial_generation(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Pass the call on."""
        self._base.after_trial(study, trial, state, values)

    def _draw(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        drawn = self._base.sample_relative(study, trial, {**self._space})
        return {
            name: drawn[name]
            if name in drawn
            else self._base.sample_independent(study, trial, name, distribution)
            for name, distribution in self._space.items()
        }

    def _proposals(self, study: Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """What the base draws, then its neighbors by one choice, then anything."""
        for _ in range(DRAWS):
            last = self._draw(study, trial)
            yield last
        near = [{**last, n: c} for n, d in self._space.items() for c in d.choices if c != last[n]]
        yield from self._random.sample(near, len(near))
        choices = [d.choices for d in self._space.values()]
        if math.prod(map(len, choices)) <= ENUMERABLE:
            every = list(itertools.product(*choices))
            self._random.shuffle(every)
        else:
            every = [tuple(map(self._random.choice, choices)) for _ in range(RANDOM_DRAWS)]
        for values in every:
            yield dict(zip(self._space, values, strict=True))
