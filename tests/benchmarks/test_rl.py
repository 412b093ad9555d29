from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive.blind import Made, blended, mixed
from ado_nas.adaptive.compaction import in_batches
from ado_nas.adaptive.countdown import Decider
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.diffusion.solvers import Point
from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.specs import QualitySpec, TrajectorySpec
from benchmarks import rl
from benchmarks.policies import met, shuffled
from studies.config import resolve
from tests.fakes.fake_practice import CLASSES, small_practice, small_unet


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
    assert {row["nfe"] for row in rows.values()} == {spent}
    assert rows["shuffled"]["images_by_nfe"] == rows["ppo"]["images_by_nfe"]
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
    assert verdict["above_random"] is False and verdict["above_uniform"] is None
    found.append(played(1, "uniform", 2.5))
    assert rl._verdict(found, 0.5)["above_uniform"] is True
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


@pytest.mark.parametrize("mean", [1.0, 2.3, 4.488, 7.9, 8.0])
@pytest.mark.parametrize("bias", [0.0, 0.8, -0.8])
def test_what_is_told_a_mean_but_spends_another_is_mixed_to_it(mean: float, bias: float) -> None:
    asked: list[float] = []

    def made(target: float) -> Made:
        asked.append(target)
        rng = np.random.default_rng(len(asked))
        spent = np.clip(np.rint(rng.normal(target + bias, 1.5, 200)), 1, 8).astype(np.int64)
        spent = np.full(200, int(target)) if target in (1, 8) else spent
        return spent[:, None, None, None].astype(np.float32), spent

    images, spent = met(made, mean, 8, seed=0)
    np.testing.assert_array_equal(images.ravel(), spent)
    assert abs(spent.mean() - mean) <= 0.5 / 200 + 1e-9
    assert min(asked) >= 1 and max(asked) <= 8


def test_blended_images_are_drawn_from_all() -> None:
    low, high = np.full(1000, 4), np.where(np.arange(1000) % 2, 5, 4)
    few, many = ((np.zeros((1000, 1, 1, 1)) + n, spent) for n, spent in ((0, low), (1, high)))
    images, spent = blended(few, many, 4.25, seed=1)
    assert spent.mean() == 4.25
    taken = images.ravel() == 1
    assert np.array_equal(spent, np.where(taken, high, low))
    for part in (taken[:500], taken[500:], taken[::2], taken[1::2]):
        assert part.mean() == pytest.approx(0.5, abs=0.08)


@pytest.mark.usefixtures("own_lock")
def test_shuffled_levels_are_those_of_the_policy_given_to_others() -> None:
    game, unet = small_practice(limit=5).game, small_unet()
    start, labels = noise(3, 12, (8, 8, 1)), np.arange(12, dtype=np.int32) % CLASSES
    seen = np.zeros((0, 5))

    def actor(told: np.ndarray) -> np.ndarray:
        return np.where(told[:, -1] > 0, 2, 0) + (told[:, -2] > 0)

    def watched(done: int, rows: np.ndarray, past: list[Point]) -> np.ndarray:
        nonlocal seen
        seen = np.zeros((12, 5)) if done == 1 else seen
        seen[rows, done - 1] = decider(done, rows, past)
        return seen[rows, done - 1]

    decider, first = Decider(game, actor), float(game.levels[0])
    _, own = in_batches(unet, game.solver, first, lambda: watched, start, labels)
    images, spent = shuffled(game, actor, unet, start, labels, 1.0, 5, seed=1)
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_array_equal(spent, own[order])
    assert len(set(own)) > 1 and not np.array_equal(spent, own)
    for i, levels in enumerate(seen[order]):
        path = np.concatenate([[first], levels[levels > 0], [0.0]])
        alone = generate(unet, game.solver, path, start[i : i + 1], labels[i : i + 1])
        np.testing.assert_allclose(images[i : i + 1], alone, rtol=1e-4, atol=1e-4)


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 to 20"):
        rl.run(seed=0, row=21, workspace=tmp_path, progress=silent)
