from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive.blind import mixed
from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.specs import QualitySpec, TrajectorySpec
from benchmarks import rl
from benchmarks.policies import blinded
from studies.config import resolve


def run(workspace: Path, row: int | None, seeds: int = 1) -> dict[str, Any]:
    task = resolve("smoke").task
    task = dataclasses.replace(
        task,
        teacher=dataclasses.replace(task.teacher, iterations=10),
        trajectories=TrajectorySpec(count=40, levels=8),
        quality=QualitySpec(samples=64, feature_iterations=10),
    )
    return rl.run(
        seed=0,
        row=row,
        workspace=workspace,
        progress=silent,
        task=task,
        practiced=40,
        training={"updates": 1, "slots": 8, "horizon": 4, "batch": 16, "epochs": 1},
        seeds=seeds,
    )


@pytest.mark.slow
def test_every_policy_is_judged_at_what_the_learned_one_spends(
    tmp_path: Path, own_lock: Path
) -> None:
    pytest.importorskip("stable_baselines3", reason="the extra `rl` is not installed")
    found = run(tmp_path, None)
    rows = {row["policy"]: row for row in found["rows"]}
    assert list(rows) == list(rl.POLICIES)
    for row in rows.values():
        assert row["gap_interval"][0] <= row["gap"] <= row["gap_interval"][1]
        assert row["error_interval"][0] < row["error"] < row["error_interval"][1]
        assert sum(row["images_by_nfe"]) == 64
    spent = rows["ppo"]["nfe"]
    assert rows["dp"]["nfe"] == rows["uniform"]["nfe"] == pytest.approx(spent, abs=1e-3)
    assert rows["random"]["nfe"] == pytest.approx(spent, abs=1.5)
    assert set(found["ppo_against"]) == set(rl.OTHERS)
    assert isinstance(found["above_random"], bool)
    assert run(tmp_path, 3)["rows"] == [rows["random"]]  # kept, not drawn again


def test_verdict_needs_every_seed() -> None:
    def played(seed: int, policy: str, value: float) -> dict[str, Any]:
        errors = [value - 0.1, value + 0.1] * 50
        return {
            "row": {"seed": seed, "policy": policy, "gap": value, "error": value},
            "errors": errors,
            "replicates": {"generated": [value, value + 0.01] * 10, "real": [value] * 20},
        }

    found = [played(0, "ppo", 1.0), played(1, "ppo", 2.0)]
    found += [played(0, "random", 4.0), played(1, "random", 2.0), played(0, "uniform", 4.0)]
    verdict = rl._verdict(found, 0.5)
    assert verdict["above_random"] is False and verdict["above_uniform"] is True
    assert verdict["ppo_against"]["random"] == {
        "gap_ratio": 0.5,
        "error_ratio": 0.5,
        "gap_below": 1,
        "error_below": 1,
        "seeds": 2,
    }
    assert rl._verdict(found[:2], 0.5) == {
        "ppo_against": {},
        "above_random": None,
        "above_uniform": None,
    }


def test_mixed_budgets_meet_the_mean() -> None:
    def images(nfe: int) -> np.ndarray:
        return np.full((8, 1, 1, 1), float(nfe))

    made, spent = mixed(images, 4.25, seed=0)
    assert np.array_equal(made.ravel(), spent) and spent.mean() == 4.25
    assert np.all(mixed(images, 5.0, seed=0)[1] == 5)


def test_blind_policy_acts_as_often_but_not_by_content() -> None:
    seen = np.zeros((200, 3), np.float32)
    seen[100:, 1] = 0.5
    seen[:, 2] = np.arange(200)
    acted = blinded(lambda told: told[:, 2], seed=0)(seen)
    for half in (slice(0, 100), slice(100, 200)):
        assert sorted(acted[half]) == sorted(seen[half, 2])
        assert np.mean(acted[half] == seen[half, 2]) < 0.1


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 to 17"):
        rl.run(seed=0, row=18, workspace=tmp_path, progress=silent)
