"""Sampling by content: a learned rule with its schedules, and the file it is kept in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ado_nas.adaptive.complexity import PROBES, STATISTICS, Budgets, Complexity, sample
from ado_nas.diffusion.solvers import RULE
from ado_nas.errors import ModelError
from ado_nas.files import read_json, write_json
from ado_nas.modelfolder import Model, check_identity
from ado_nas.progress import Progress, silent

CONTENT = "content"  # the kind of file


@dataclass(frozen=True, eq=False)
class AdaptiveScheduler:
    """How many evaluations each image gets, by its content, and at which levels."""

    schedules: Budgets
    rule: Complexity
    made_for: Mapping[str, Any]  # `identity` of the model

    def sample(
        self,
        model: Model,
        start: np.ndarray,
        labels: np.ndarray | None = None,
        batch: int = 100,
        progress: Progress = silent,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images from noise; see `complexity.sample`.

        Args:
            model: the one it was learned for.
            start: (N, H, W, C) standard normal noise.
            labels: (N,) int32, or None.
            batch: images at a time.
            progress: told after each batch.

        Returns:
            (N, H, W, C) float32 images, and (N,) evaluations spent on each.

        Raises:
            ModelError: see `check`.
        """
        self.check(model)
        guidance = model.sampler.guidance
        about = self.schedules, self.rule, start, labels, guidance, batch, progress
        return sample(model.unet, *about)

    def check(self, model: Model, what: str = "this adaptive scheduler") -> None:
        """Refuse another model than that which it was learned for.

        Args:
            model: what is to be sampled.
            what: the scheduler, in words.

        Raises:
            ModelError: it is another one, or of another resolution.
        """
        check_identity(self.made_for, model, what)

    def facts(self) -> dict[str, Any]:
        """Plain values; the inverse of `of`."""
        return {
            "kind": CONTENT,
            "solver": self.schedules.solver,
            "levels": {str(n): v.tolist() for n, v in self.schedules.levels.items()},
            "rule": self.rule.facts(),
            "model": dict(self.made_for),
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> AdaptiveScheduler:
        """A scheduler from its plain values; further keys do not matter.

        Raises:
            ModelError: a value is missing or cannot be.
        """
        try:
            rule = {name: np.array(values, float) for name, values in facts["rule"].items()}
            rule["budgets"] = rule["budgets"].astype(np.int64)
            levels = {int(n): np.array(v, float) for n, v in facts["levels"].items()}
            schedules = Budgets(facts["solver"], levels)
            found = cls(schedules, Complexity(**rule), dict(facts["model"]))
            whole = found.whole
        except (KeyError, TypeError, ValueError, AttributeError):
            whole = False
        if not whole:
            raise ModelError("no adaptive scheduler; learn one with `schedule --mean-nfe`")
        return found

    @property
    def whole(self) -> bool:
        """Whether rule and schedules fit each other."""
        rule, levels = self.rule, self.schedules.levels
        each = (rule.mean, rule.scale, rule.weights)
        shapes = all(v.shape == (len(STATISTICS),) and np.isfinite(v).all() for v in each)
        fall = all(
            v.shape == (n + 1,) and n >= PROBES and v[-1] == 0 and np.all(np.diff(v) < 0)
            for n, v in levels.items()
        )
        alike = len({tuple(v[:PROBES]) for v in levels.values()}) == 1
        known = set(rule.budgets.tolist()) <= set(levels)
        parted = rule.budgets.shape == (len(rule.edges) + 1,)
        return self.schedules.solver in RULE and shapes and fall and alike and known and parted

    def save(self, path: Path, provenance: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Write it as JSON.

        Args:
            path: of the file.
            provenance: plain values: on what data, noise and device, compared with what.
        """
        write_json(path, {**self.facts(), "provenance": dict(provenance)})

    @classmethod
    def load(cls, path: Path) -> AdaptiveScheduler:
        """Read what `save` wrote.

        Raises:
            ModelError: there is no such file, or it holds something else.
        """
        facts = read_json(path)
        try:
            return cls.of(facts if isinstance(facts, dict) else {})
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
