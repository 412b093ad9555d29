from __future__ import annotations

import dataclasses
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas import data
from ado_nas.data import Dataset, Split
from ado_nas.errors import DataError, ModelError
from ado_nas.quality import features, frechet, intervals
from ado_nas.quality.features import FeatureNet
from ado_nas.quality.judge import Judge, retention
from ado_nas.quality.ladder import ladder
from ado_nas.specs import DataSpec, QualitySpec

SPEC = QualitySpec(feature_iterations=250)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return data.load(DataSpec("digits", 16), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def net(digits: Dataset) -> FeatureNet:
    return features.train_features(digits, SPEC)


@pytest.fixture(scope="module")
def judge(digits: Dataset, net: FeatureNet) -> Judge:
    return Judge(net, digits.held_out.halves()[0], digits.train, SPEC)


def test_features_tell_digits_and_have_the_trace_they_claim(
    digits: Dataset, net: FeatureNet
) -> None:
    found = net(digits.train.images)
    assert found.shape == (1078, 64) and found.dtype == np.float32
    assert found.astype(np.float64).var(0).sum() == pytest.approx(features.TRACE, rel=1e-3)
    assert net.facts["accuracy"] > 0.9 and net.task.startswith("10 classes")


def test_training_repeats_for_one_seed_and_differs_for_another(digits: Dataset) -> None:
    short = dataclasses.replace(SPEC, feature_iterations=6)
    first, again = (features.train_features(digits, short) for _ in range(2))
    other = features.train_features(digits, dataclasses.replace(short, seed=1))
    assert first.hash == again.hash != other.hash


@pytest.mark.parametrize("side", [8, 12, 20, 32])
def test_features_without_labels_work_at_any_side(side: int) -> None:
    images = np.random.default_rng(0).random((40, side, side, 3)).astype(np.float32)
    split = Split(images)
    dataset = Dataset(split, split, 0, "x", DataSpec("x", side), {})
    made = features.train_features(dataset, dataclasses.replace(SPEC, feature_iterations=2))
    assert made(images).shape == (40, 64) and "16 clusters" in made.task


def test_loaded_network_equals_the_saved_one(
    tmp_path: Path, digits: Dataset, net: FeatureNet
) -> None:
    features.save(net, tmp_path)
    loaded = features.load(tmp_path)
    np.testing.assert_array_equal(loaded(digits.train.images[:9]), net(digits.train.images[:9]))
    weights = {**net.weights, "scale": mx.array(net.scale)}
    weights["real.bias"] = weights["real.bias"] + 1e-3
    mx.save_safetensors(str(tmp_path / "features.safetensors"), weights)
    with pytest.raises(ModelError, match="differs from its hash"):
        features.load(tmp_path)
    (tmp_path / "features.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="holds no feature network"):
        features.load(tmp_path)


def test_quality_agrees_with_its_parts(digits: Dataset, judge: Judge, net: FeatureNet) -> None:
    images = digits.train.images[:500] * np.float32(0.9)
    found = judge.score(images)
    real, fake = net(judge.held_out.images), net(images)
    assert found.frechet == pytest.approx(frechet.distance(frechet.fit(real), frechet.fit(fake)))
    assert found.gap == pytest.approx(max(intervals.gap_measure(real, fake), 0))
    assert found.gap == pytest.approx(judge.gap(images))
    assert judge.glance(images) == (
        pytest.approx(found.gap),
        pytest.approx(found.gap_interval),
    )
    assert found.gap_interval[0] <= found.gap <= found.gap_interval[1]
    assert found.samples == 500 and judge.score(images) == found


def test_other_real_images_lie_below_the_floor(digits: Dataset, judge: Judge) -> None:
    found = judge.score(digits.held_out.halves()[1].images)
    assert found.gap <= found.floor and found.sliced <= found.sliced_floor
    assert found.coverage > 0.9 and found.nearest_ratio == pytest.approx(1, abs=0.1)
    assert judge.score(digits.train.images[:300]).nearest_ratio < 0.01


def test_objective_orders_every_damage_and_tells_noise_from_images(
    digits: Dataset, judge: Judge
) -> None:
    pool = digits.held_out.halves()[1]
    rng = np.random.default_rng(0)
    rows = [rng.choice(1078, 359) for _ in range(4)]
    # The stand-in for a decent generator: real images, slightly averaged.
    draws = [
        np.float32(0.95) * digits.train.images[a] + np.float32(0.05) * digits.train.images[b]
        for a, b in zip(rows, rows[1:] + rows[:1], strict=True)
    ]
    found = ladder("digits", judge, pool, draws, {2: pool.images * 0, 8: pool.images})
    assert found.holds and found.ordered["gap"] and found.separation["gap"] > 10
    assert len(found.rows) == 5 * 22 and found.best
    full = [r.value for r in found.rows if r.damage == "gaussian" and r.metric == "gap"][-1]
    assert full > 10 * max(judge.gap(draw) for draw in draws)


def test_judge_refuses_what_it_cannot_judge(
    digits: Dataset, judge: Judge, net: FeatureNet
) -> None:
    with pytest.raises(DataError, match="cannot be judged"):
        judge.score(np.zeros((20, 8, 8, 1), np.float32))
    with pytest.raises(DataError, match="all finite"):
        judge.score(np.full((20, 16, 16, 1), np.nan, np.float32))
    with pytest.raises(DataError, match="9 held-out images"):
        Judge(net, digits.held_out.take(np.arange(9)), digits.train, SPEC)


def test_retention_is_one_at_the_reference_and_falls_with_the_gap() -> None:
    assert retention(3.0, 0.5, 3.0) == 1.0
    assert retention(3.0, 0.5, 6.5) == 0.5
    assert retention(3.0, 0.5, 0.0) == 7.0
