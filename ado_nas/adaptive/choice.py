"""The recipe and the batch that keep the most quality within a time per image, by a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ado_nas.adaptive.calltimes import CallTimes
from ado_nas.adaptive.recipe import Recipe

TIE = 0.01  # retentions nearer than this are one


@dataclass(frozen=True, eq=False)
class Judged:
    """A recipe and how much of the reference's quality it keeps."""

    recipe: Recipe
    retention: float
    whole: float | None = None  # evaluations of the whole network that take as long

    @property
    def nfe(self) -> int:
        """Network evaluations for an image."""
        return self.recipe.nfe

    @property
    def calls(self) -> float:
        """Evaluations of the whole network that take as long."""
        return self.nfe if self.whole is None else self.whole


@dataclass(frozen=True, eq=False)
class Choice:
    """A recipe in batches of some size, and milliseconds per image: predicted, or measured."""

    row: Judged
    batch: int
    ms: float

    @property
    def key(self) -> tuple[int, int]:
        """Which row, and the batch."""
        return id(self.row), self.batch

    @property
    def known_as(self) -> str:
        """In words."""
        recipe, widths = self.row.recipe, ", ".join(f"{s:g}" for s in self.row.recipe.shares)
        return (
            f"{recipe.solver}, {recipe.schedule} levels, {recipe.nfe} NFE, "
            f"{f'widths {widths}, ' if widths else ''}batches of {self.batch}"
        )

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        recipe = self.row.recipe
        return {
            "solver": recipe.solver,
            "schedule": recipe.schedule,
            "nfe": recipe.nfe,
            "step_widths": list(recipe.shares),
            "retention": self.row.retention,
            "batch": self.batch,
            "latency_ms": self.ms,
        }


def choose(
    rows: Sequence[Judged], table: CallTimes, target_ms: float, aim: float = 1.0
) -> Choice | None:
    """The recipe of the highest retention that some batch brings under the target.

    Among those of the same retention, to within 1%, the fewest evaluations win, and then the
    smallest batch: the first image comes soonest, and memory is least.

    Args:
        rows: what there is to choose from.
        table: of the network that all of them evaluate.
        target_ms: per image.
        aim: share of the target that the batch should keep below, where one does.

    Returns:
        The choice with its predicted time, or None where nothing meets the target.
    """
    able = [row for row in rows if table.curve(row.calls).min() <= target_ms]
    if not able:
        return None
    row = min(tied(able, max(r.retention for r in able)), key=lambda r: (r.calls, -r.retention))
    curve = table.curve(row.calls)
    meets = np.flatnonzero(curve <= aim * target_ms)
    at = int(meets[0]) if len(meets) else int(np.argmin(curve))
    return Choice(row, at + 1, float(curve[at]))


def closest(rows: Sequence[Judged], table: CallTimes) -> Choice:
    """The fastest of all recipes and batches; of equally fast ones the better.

    Args:
        rows: at least one.
        table: as in `choose`.
    """
    row = min(rows, key=lambda r: (r.calls, -r.retention))
    curve = table.curve(row.calls)
    return Choice(row, int(np.argmin(curve)) + 1, float(curve.min()))


def tied(rows: Sequence[Judged], retention: float) -> list[Judged]:
    """The rows whose retention is the same, to within 1%, or higher.

    Args:
        rows: to choose from.
        retention: to keep.
    """
    return [row for row in rows if row.retention >= (1 - TIE) * retention]
