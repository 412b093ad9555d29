"""Recipes of a supernet that are narrow where the noise allows it, judged like all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ado_nas.adaptive.comparison import Comparison
from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.slimming import SHARES, call_prices, slim_path, width_costs
from ado_nas.device import timed_on
from ado_nas.specs import digest
from ado_nas.widths import settled

SCHEMA = 1  # raise it when paths change
BUDGETS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)  # in evaluations of the whole network
WIDTHS = "widths"  # the schedule's name


def by_width(found: Comparison, budgets: Sequence[float] = BUDGETS) -> Iterator[dict[str, Any]]:
    """Rows of the path of least error within each budget.

    Args:
        found: where they are judged; the bench's teacher is a supernet.
        budgets: in evaluations of the whole network; those that pay for no jump are left out.

    Yields:
        As `comparison.compare`, with ``step_widths`` and, as ``calls``, the evaluations of the
        whole network that take as long; each path once.
    """
    paths = _paths(found, budgets)
    for done, path in enumerate(paths, 1):
        shares = settled(found.bench.teacher.unet.spec, tuple(path["shares"]))
        row = found.row(Recipe("ddim", WIDTHS, np.array(path["levels"]), shares=shares))
        yield {**row, "step_widths": list(shares), "calls": path["calls"]}
        found.progress(WIDTHS, done, len(paths), f"{path['calls']:.2g} whole evaluations")


def _paths(found: Comparison, budgets: Sequence[float]) -> list[dict[str, Any]]:
    """Levels, shares and calls by budget, found once: prices waver, and paths with them."""
    task, shares = found.bench.task, _trained(found)
    guidance, batch = task.reference.guidance, task.latency_batch
    about = found.bench.digests, found.bank.key, guidance, shares, tuple(budgets)
    key = digest("widths", SCHEMA, *about, batch, timed_on())

    def make() -> dict[str, Any]:
        unet = found.bench.teacher.unet
        found.progress("prices of widths", 0, 1)
        prices = call_prices(unet, shares, batch, guidance)
        found.progress("errors of widths", 0, 1)
        costs = width_costs(unet, shares, found.bank, guidance)
        paths: list[dict[str, Any]] = []
        for budget in budgets:
            if budget >= prices.min():
                path = slim_path(costs, prices, shares, found.bank.levels, budget)
                plain = {"levels": path.levels.tolist(), "shares": list(path.shares)}
                paths.append({**plain, "calls": path.calls})
        return {"paths": [p for i, p in enumerate(paths) if p not in paths[:i]]}

    paths: list[dict[str, Any]] = found.once(key, make)["paths"]
    return paths


def _trained(found: Comparison) -> tuple[float, ...]:
    """The shares that the supernet was trained to work at."""
    least = found.bench.teacher.card["training"]["least"]
    return tuple(share for share in SHARES if share >= least)
