"""A real search over resolutions, in which one candidate does not fit the memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ado_nas.progress import silent
from reports.summary import summary
from studies.config import resolve
from studies.search import search


@pytest.mark.slow
def test_search_goes_on_when_a_candidate_does_not_fit_the_memory(tmp_path: Path) -> None:
    fixed = {
        "track": False,
        "workers": 1,
        "finalists": 0,
        "task.quality.resolutions": [4],
        "space.curriculum": ["1", "1-1"],
        "limits.min_retention": 0.0,
        "task.teacher.iterations": 20,
        "task.quality.feature_iterations": 20,
        "distillation.iterations": 20,
    }
    alone = {"study": "alone", "trials": 1, "space.widths": ["8-16"], "space.steps": [1]}
    (first,) = search(resolve("smoke", flags={**fixed, **alone}), tmp_path, silent).trials
    process = json.loads(first.attributes["memory_plan"])["process_mb"]

    # Its weights alone, with gradients and the optimizer's, are over 200 MB.
    space = {"space.widths": ["8-16", "8-640"], "space.steps": [1]}
    anchors = ["widths=8-16 curriculum=1-1", "widths=8-640 curriculum=1", "widths=8-16"]
    space["space.anchors"] = anchors
    tight = {"study": "tight", "trials": 3, "memory_budget_mb": process + 120}
    record = search(resolve("smoke", flags={**fixed, **space, **tight}), tmp_path, silent)
    small, large, last = record.trials[:3]
    assert (small.state, large.state, last.state) == ("complete", "pruned", "complete")
    assert "memory budget" in large.reason and "batch 1 with checkpointing" in large.reason
    rows = {m["number"]: m["resolutions"] for m in summary(record, None)["front"]}
    assert all([row["resolution"] for row in found] == [4, 8] for found in rows.values())
