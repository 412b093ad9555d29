"""The recipe that takes least time an image on this machine, each in the batch that suits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ado_nas.adaptive.calltimes import CallTimes
from ado_nas.adaptive.choice import Choice, Judged, closest
from ado_nas.errors import ConfigError
from ado_nas.progress import Progress, silent

NEAR = 1.1  # times the least time by the table: up to it a recipe is measured
SAME = 1.03  # times the least measured time: up to it the retention decides


def fastest(
    rows: Sequence[Judged],
    table: CallTimes,
    measure: Callable[[Judged, int], float],
    progress: Progress = silent,
) -> Choice:
    """The fastest of some recipes, measured.

    The table knows calls alone, and not what a solver does between them: those that it finds
    near the fastest are measured, each in its best batch. Levels cost no time: of recipes alike
    in solver, evaluations and widths the one that keeps most stands for all.

    Args:
        rows: what there is to choose from, at least one.
        table: of the network that all of them evaluate; see `calltimes.measured_call_times`.
        measure: milliseconds per image of a row in batches of a size; see `tuning.stopwatch`.
        progress: told after each measurement.

    Returns:
        The choice with its measured time; of times that are the same, to within 3%, the one that
        keeps most.

    Raises:
        ConfigError: there are no rows.
    """
    if not rows:
        raise ConfigError("no recipes to choose from; judge at least one")
    alike: dict[tuple[object, ...], Judged] = {}
    for row in sorted(rows, key=lambda row: row.retention):
        alike[row.recipe.solver, row.nfe, row.recipe.shares] = row
    told = [closest([row], table) for row in alike.values()]
    least = min(choice.ms for choice in told)
    near = [choice for choice in told if choice.ms <= NEAR * least]
    timed: list[Choice] = []
    for choice in near:
        timed.append(Choice(choice.row, choice.batch, measure(choice.row, choice.batch)))
        note = f"{choice.known_as}: {timed[-1].ms:.3g} ms"
        progress("timing", len(timed), len(near), note)
    least = min(choice.ms for choice in timed)
    same = [choice for choice in timed if choice.ms <= SAME * least]
    return max(same, key=lambda choice: choice.row.retention)
