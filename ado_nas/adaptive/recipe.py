"""How one model is sampled, with all that was learned for it, kept as JSON beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.solvers import RULE, SOLVER, Solver, evaluations, generalized, timed
from ado_nas.errors import ModelError, nearest
from ado_nas.files import read_json, write_json
from ado_nas.modelfolder import Model, check_identity, identity

SCHEDULE = "schedule.json"
FIXED = "fixed"  # the kind of file
GENERALIZED = "generalized"  # DPM-Solver++(2M) with learned corrections
SOLVERS = (*SOLVER, GENERALIZED)


@dataclass(frozen=True, eq=False)
class Recipe:
    """A solver, its noise levels, and what else was learned.

    `levels` is (T + 1,), falling, the last 0; `times` (T,) the factors of the levels that the
    network is told, `corrections` (2, T, T) as `generalized` takes them; None for none. `shares`
    (T,) is of the widths of a supernet at each step; empty where all steps are whole. `batch` is
    how many images at a time it was chosen for; None for any number. `cost` says what a dynamic
    program took for the cost of a jump to find the levels, or those that they were refined from.
    """

    solver: str
    schedule: str
    levels: Levels
    times: np.ndarray | None = None
    corrections: np.ndarray | None = None
    shares: tuple[float, ...] = ()
    batch: int | None = None
    cost: str = ""

    @property
    def nfe(self) -> int:
        """Network evaluations for an image."""
        return evaluations(self.solver, len(self.levels) - 1)

    @property
    def run(self) -> Solver:
        """The solver with what was learned."""
        if self.solver == GENERALIZED:
            assert self.corrections is not None
            found = generalized(self.corrections)
        else:
            found = SOLVER[self.solver]
        return found if self.times is None else timed(found, self.times)

    def facts(self) -> dict[str, Any]:
        """Plain values; the inverse of `recipe_of`."""
        found = {
            "solver": self.solver,
            "schedule": self.schedule,
            "nfe": self.nfe,
            "levels": self.levels.tolist(),
            "times": None if self.times is None else self.times.tolist(),
            "corrections": None if self.corrections is None else self.corrections.tolist(),
        }
        # Left out where there are none, so that cache keys of before stay.
        found |= {"shares": list(self.shares)} if self.shares else {}
        found |= {} if self.batch is None else {"batch": self.batch}
        return found | ({"cost": self.cost} if self.cost else {})


def recipe_of(facts: Mapping[str, Any]) -> Recipe:
    """A recipe from its plain values.

    Args:
        facts: as `Recipe.facts` gives them; further keys do not matter.

    Returns:
        The recipe.

    Raises:
        ModelError: a value is missing or cannot be.
    """
    solver = facts.get("solver")
    if solver not in SOLVERS:
        raise ModelError(f"solver {solver!r} is unknown; {nearest(str(solver), SOLVERS)}")
    levels = _numbers("levels", facts.get("levels"))
    steps = levels.size - 1
    if levels.ndim != 1 or steps < 1:
        raise ModelError("its levels hold no step (NFE 0); give at least one above 0, then 0")
    if levels[-1] != 0 or np.any(np.diff(levels) >= 0):
        raise ModelError("its levels do not fall to 0; every level must be below the one before")
    times = corrections = None
    single = solver in (*RULE, GENERALIZED)
    if facts.get("times") is not None:
        times = _numbers("times", facts["times"])
        if times.shape != (steps,) or not np.all(times > 0) or not single:
            raise ModelError(
                f"its times are {times.tolist()}; give one above 0 for each of {steps} steps, and "
                "a solver with one evaluation a step"
            )
    if solver == GENERALIZED:
        corrections = _numbers("corrections", facts.get("corrections"))
        if corrections.shape != (2, steps, steps):
            raise ModelError(
                f"its corrections are {corrections.shape}; {steps} steps need "
                f"(2, {steps}, {steps})"
            )
    shares = _numbers("shares", facts.get("shares") or ())
    fits = shares.shape == (steps,) and single and np.all((shares > 0) & (shares <= 1))
    if shares.size and not fits:
        raise ModelError(
            f"its shares are {shares.tolist()}; give one above 0, at most 1, for each of {steps} "
            "steps, and a solver with one evaluation a step"
        )
    batch = facts.get("batch")
    if batch is not None and (type(batch) is not int or batch < 1):
        raise ModelError(f"its batch is {batch!r}; give a whole number from 1, or none")
    name, cost = str(facts.get("schedule", "")), str(facts.get("cost", ""))
    return Recipe(solver, name, levels, times, corrections, tuple(shares.tolist()), batch, cost)


def own(model: Model) -> Recipe:
    """How a model is sampled where nothing was learned beside it."""
    return Recipe(model.sampler.solver, model.sampler.schedule, model.levels)


def save_recipe(path: Path, model: Model, recipe: Recipe, provenance: Mapping[str, Any]) -> None:
    """Write a schedule file.

    Args:
        path: of the file; `SCHEDULE` in the model's folder is the one that `sample` uses.
        model: what it was learned for.
        recipe: the schedule.
        provenance: plain values: on what data, noise and device, compared with what.
    """
    about = {"kind": FIXED, "model": identity(model), "provenance": dict(provenance)}
    write_json(path, {**recipe.facts(), **about})


def load_recipe(path: Path, model: Model) -> Recipe:
    """Read a schedule file for a model.

    Args:
        path: as written by `save_recipe`.
        model: what is to be sampled.

    Returns:
        The recipe.

    Raises:
        ModelError: there is no such file, it was learned for another model or resolution, or its
            values cannot be.
    """
    facts = read_json(path)
    if not isinstance(facts, dict):
        raise ModelError(f"no schedule in {path}; `schedule` writes one")
    check_identity(facts.get("model"), model, str(path))
    try:
        return recipe_of(facts)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        found = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.array(np.nan)
    if not np.all(np.isfinite(found)):
        raise ModelError(f"its {name} are missing or no finite numbers")
    return found
