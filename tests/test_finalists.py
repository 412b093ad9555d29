"""Finalists of a real search: trained again, judged on what the search never saw, once each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ado_nas.files import read_json
from ado_nas.progress import silent
from reports.summary import summary
from studies.config import resolve
from studies.search import search


@pytest.mark.slow
def test_finalists_are_trained_again_and_resumed_when_interrupted(tmp_path: Path) -> None:
    short = {"task.teacher.iterations": 20, "task.quality.feature_iterations": 20}
    flags = {"trials": 2, "workers": 1, "track": False, "distillation.iterations": 20}
    config = resolve("smoke", flags={**flags, **short})
    trained: list[str] = []

    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "finalists" and note:
            trained.append(note)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(config, tmp_path, interrupt)
    assert len(trained) == 1

    def watch(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "finalists" and note:
            trained.append(note)

    record = search(config, tmp_path, watch)
    assert len(trained) == 2  # the first was not trained again
    (found,) = record.finalists
    assert [row["seed"] for row in found.seeds] == [1, 2]
    weights = set()
    for row in found.seeds:
        assert row["state"] == "complete"
        assert row["retention_low"] <= row["retention"] <= row["retention_high"]
        card = read_json(tmp_path / row["folder"] / "card.json")
        assert card["seed"] == row["seed"]
        weights.add(card["weights_sha256"])
        # Other noise and other images than those that the search judged by.
        assert card["figures"]["gap"] != row["gap"]
    assert len(weights) == 2
    (entry,) = summary(record, None)["finalists"]
    assert entry["number"] == record.best
    assert entry["repeats"] + entry["failures"] == 2

    later = dataclasses.replace(config, study="later", warm_start="smoke", trials=1, finalists=0)
    second = search(later, tmp_path, silent)
    assert (second.trained, second.states["carried"]) == (1, 2)
    assert set(second.front) <= set(second.remeasured)
