"""The teacher's cache key, its resumption, and that it learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.data import Dataset, load
from ado_nas.diffusion.levels import karras_levels, logsnr_levels
from ado_nas.modelfolder import Model, load_model
from ado_nas.models.unet import named_parameters
from ado_nas.specs import DataSpec, SamplerSpec, TeacherSpec, UNetSpec, from_dict
from ado_nas.training import resumable
from ado_nas.training import teacher as module
from ado_nas.training.resumable import CHECKPOINT
from ado_nas.training.teacher import teacher_key, train_teacher
from studies.config import resolve

UNET = UNetSpec(
    resolution=8,
    widths=(8, 16),
    attention=("none", "none"),
    middle=False,
    activation="relu",
    num_classes=10,
)
SPEC = TeacherSpec(unet=UNET, iterations=12, batch=16, warmup=2)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(DataSpec("digits", 8), tmp_path_factory.mktemp("data"))


def train(dataset: Dataset, cache: Path, **kwargs: Any) -> Path:
    return train_teacher(SPEC, dataset, cache, SamplerSpec(nfe=4), (0.02, 40.0), **kwargs)


def weights(folder: Path) -> np.ndarray:
    model = load_model(folder).unet
    return np.concatenate([np.array(v).reshape(-1) for _, v in named_parameters(model)])


@pytest.mark.usefixtures("own_lock")
def test_interrupted_teacher_ends_as_the_uninterrupted_one(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "CHECKPOINT_SECONDS", 0.0)
    straight = train(digits, tmp_path / "a")

    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(digits, tmp_path / "b", progress=interrupt)
    seen: list[int] = []
    resumed = train(digits, tmp_path / "b", progress=lambda s, done, n, note="": seen.append(done))
    assert seen[0] == 6  # iteration 6 was done but not yet saved
    np.testing.assert_array_equal(weights(straight), weights(resumed))
    assert not (resumed / CHECKPOINT).exists()


@pytest.mark.usefixtures("own_lock")
def test_damaged_checkpoint_starts_again(digits: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / teacher_key(SPEC, digits.digest)
    folder.mkdir()
    (folder / CHECKPOINT).write_bytes(b"not safetensors")
    assert train(digits, tmp_path) == folder
    calls: list[int] = []
    train(digits, tmp_path, progress=lambda s, done, n, note="": calls.append(done))
    assert calls == []  # finished: nothing is trained again
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + b"x")
    train(digits, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == weights
    (folder / "spec.json").write_text("{")
    assert load_model(train(digits, tmp_path)).unet.spec == SPEC.unet


@pytest.mark.usefixtures("own_lock")
def test_sampler_is_that_of_the_last_study_with_its_own_levels(
    digits: Dataset, tmp_path: Path
) -> None:
    trained: list[int] = []

    def sampler(solver: str, schedule: str, nfe: int) -> Model:
        reference = SamplerSpec(solver, schedule, nfe)
        about = tmp_path, reference, (0.02, 40.0), lambda s, done, n, note="": trained.append(done)
        return load_model(train_teacher(SPEC, digits, *about))

    heun = sampler("heun", "karras", 5)
    assert heun.sampler == SamplerSpec("heun", "karras", 5) and len(heun.levels) == 4
    even = sampler("ddim", "logsnr", 4)
    assert even.sampler == SamplerSpec("ddim", "logsnr", 4)
    np.testing.assert_allclose(even.levels, logsnr_levels(4, 0.02, 40.0))
    learned = sampler("ddim", "dp", 4)  # there are no trajectories to learn levels from
    assert learned.sampler == SamplerSpec("ddim", "karras", 4)
    np.testing.assert_allclose(learned.levels, karras_levels(4, 0.02, 40.0))
    assert trained == list(range(1, SPEC.iterations + 1))


@pytest.mark.usefixtures("own_lock")
def test_teacher_learns(digits: Dataset, tmp_path: Path) -> None:
    notes: list[str] = []
    spec = dataclasses.replace(SPEC, iterations=60)
    train_teacher(
        spec,
        digits,
        tmp_path,
        SamplerSpec(nfe=4),
        (0.02, 40.0),
        progress=lambda s, done, n, note="": notes.append(note),
    )
    losses = [float(note.split()[1]) for note in notes]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 13},
        {"batch": 8},
        {"learning_rate": 1e-3},
        {"warmup": 3},
        {"ema_decay": 0.9},
        {"label_dropout": 0.2},
        {"p_mean": -1.0},
        {"p_std": 1.0},
        {"seed": 1},
        {"unet": dataclasses.replace(UNET, activation="silu")},
        {"unet": dataclasses.replace(UNET, sigma_data=0.6)},
    ],
)
def test_key_changes_with_every_setting(change: dict[str, Any]) -> None:
    assert set(change) <= {f.name for f in dataclasses.fields(TeacherSpec)}
    assert teacher_key(dataclasses.replace(SPEC, **change), "d") != teacher_key(SPEC, "d")


def test_key_changes_with_data_and_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    key = teacher_key(SPEC, "d")
    assert teacher_key(SPEC, "e") != key
    monkeypatch.setattr(module, "SCHEMA", module.SCHEMA + 1)
    assert teacher_key(SPEC, "d") != key


def test_batches_are_functions_of_seed_and_iteration(digits: Dataset) -> None:
    whole = module.batches(SPEC, digits, 0)
    first, second = next(whole), next(whole)
    again = next(module.batches(SPEC, digits, 1))
    assert all(mx.array_equal(a, b) for a, b in zip(second, again, strict=True))
    assert not mx.array_equal(first[2], second[2])


@pytest.mark.usefixtures("own_lock")
def test_shipped_teacher_is_taken_where_all_is_alike(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = train(digits, tmp_path / "cache").rename(tmp_path / "digits8")
    monkeypatch.setattr(module, "SHIPPED", tmp_path)
    found = train(digits, tmp_path / "cache")  # a copy, for schedules are saved beside a model
    assert found.is_relative_to(tmp_path / "cache")
    assert (found / "model.safetensors").read_bytes() == (place / "model.safetensors").read_bytes()
    assert module.finished(SPEC, digits, tmp_path / "elsewhere") == place
    longer = dataclasses.replace(SPEC, iterations=13)
    assert module.shipped(longer, digits) is None
    other = dataclasses.replace(digits, spec=dataclasses.replace(digits.spec, seed=1))
    assert module.shipped(SPEC, other) is None
    newer = dataclasses.replace(digits, manifest={**digits.manifest, "generator_version": -1})
    assert module.shipped(SPEC, newer) is None
    (place / "card.json").write_text("{")  # damaged
    assert module.shipped(SPEC, digits) is None


def test_every_shipped_teacher_is_whole_and_of_a_preset() -> None:
    for card in module.SHIPPED.glob("*/card.json"):
        model = load_model(card.parent)  # compares the digest
        assert (card.parent / "model.safetensors").stat().st_size < 5e6
        task = resolve(card.parent.name).task
        assert from_dict(DataSpec, model.card["data"]["spec"]) == task.data
        trained = from_dict(TeacherSpec, model.card["training"])
        unet = dataclasses.replace(task.teacher.unet, sigma_data=trained.unet.sigma_data)
        assert trained == dataclasses.replace(task.teacher, unet=unet)
