"""The supernet: its loss against networks of their own, its cache, and that narrow ones learn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.data.pyramid import averaged
from ado_nas.diffusion.levels import karras_levels
from ado_nas.distillation import supernet as module
from ado_nas.distillation.student import Lessons, landing_loss
from ado_nas.distillation.supernet import (
    Sandwich,
    batches,
    curriculum,
    supernet_key,
    train_supernet,
)
from ado_nas.distillation.trajectories import Bank, build_bank
from ado_nas.modelfolder import Model, load_model
from ado_nas.models.inherit import inherit
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import CurriculumSpec, SamplerSpec, SupernetSpec, TrajectorySpec, UNetSpec
from ado_nas.training import resumable
from ado_nas.widths import narrowest

UNET = UNetSpec(
    resolution=8,
    widths=(16,),
    blocks=(1,),
    attention=("none",),
    middle=False,
    activation="relu",
    num_classes=3,
    time_width=16,
)
SPEC = SupernetSpec(iterations=8, batch=16)

pytestmark = pytest.mark.usefixtures("own_lock")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Bank]:
    unet = build_unet(UNET, 1)
    unet.conv_out.weight = 0.1 * mx.random.normal(unet.conv_out.weight.shape, key=mx.random.key(0))
    teacher = Model(unet, SamplerSpec(), karras_levels(4, 0.02, 40.0), {"weights_sha256": "a"})
    folder = tmp_path_factory.mktemp("bank")
    return teacher, build_bank(TrajectorySpec(count=64, levels=6), teacher, folder)


def slice_of(unet: UNet, spec: UNetSpec) -> UNet:
    student = build_unet(spec, 1)
    inherit(student, unet, "leading")
    return student


def test_loss_is_the_mean_over_widest_narrowest_and_drawn_networks(
    taught: tuple[Model, Bank],
) -> None:
    teacher, bank = taught
    batch = Lessons(bank, bank.schedule("dp", 2)).batch(np.random.default_rng(0), 8)
    sandwich = Sandwich(UNET, dataclasses.replace(SPEC, drawn=2))
    sandwich.draw(np.random.default_rng(1))
    specs = [s.spec for s in sandwich.slices]
    assert specs[0] == narrowest(UNET, 0.25) and len(specs) == 3
    alone = [teacher.unet, *(slice_of(teacher.unet, s) for s in specs)]
    expected = np.mean([float(landing_loss(m, *batch)) for m in alone])
    assert float(sandwich(teacher.unet, *batch)) == pytest.approx(expected, rel=1e-5)


def test_narrow_networks_learn_and_the_finished_supernet_is_opened_not_made(
    taught: tuple[Model, Bank], tmp_path: Path
) -> None:
    teacher, bank = taught
    spec = dataclasses.replace(SPEC, iterations=40)
    folder = train_supernet(spec, teacher, bank, tmp_path)
    batch = Lessons(bank, bank.schedule("dp", 2)).batch(np.random.default_rng(0), 64)
    narrow = narrowest(UNET, 0.25)
    before = float(landing_loss(slice_of(teacher.unet, narrow), *batch))
    after = float(landing_loss(slice_of(load_model(folder).unet, narrow), *batch))
    assert after < 0.8 * before
    calls: list[int] = []
    told = lambda s, done, n, note="": calls.append(done)  # noqa: E731
    assert train_supernet(spec, teacher, bank, tmp_path, told) == folder
    assert calls == []


def test_card_names_data_and_teacher_and_an_old_one_is_completed(
    taught: tuple[Model, Bank], tmp_path: Path
) -> None:
    teacher, bank = taught
    named = {"data": {"name": "digits", "spec": {"name": "digits"}}}
    card = {**teacher.card, **named}
    teacher = dataclasses.replace(teacher, card=card, folder=tmp_path / "teacher")
    spec = dataclasses.replace(SPEC, iterations=1)
    folder = train_supernet(spec, teacher, bank, tmp_path)
    whole = load_model(folder).card
    wanted = {**named, "teacher": "a", "teacher_folder": "../teacher"}
    assert {name: whole[name] for name in wanted} == wanted
    old = {k: v for k, v in whole.items() if k not in ("data", "teacher_folder")}
    (folder / "card.json").write_text(json.dumps(old))
    told: list[str] = []
    train_supernet(spec, teacher, bank, tmp_path, lambda stage, *_, **__: told.append(stage))
    assert load_model(folder).card == whole and not told
    (folder / "model.safetensors").write_bytes(b"damaged")
    train_supernet(spec, teacher, bank, tmp_path)
    assert load_model(folder).card["weights_sha256"] == whole["weights_sha256"]


def test_interrupted_supernet_ends_as_the_uninterrupted_one(
    taught: tuple[Model, Bank], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "CHECKPOINT_SECONDS", 0.0)
    straight = train_supernet(SPEC, *taught, tmp_path / "a")

    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_supernet(SPEC, *taught, tmp_path / "b", interrupt)
    resumed = train_supernet(SPEC, *taught, tmp_path / "b")
    pairs = zip(*(named_parameters(load_model(f).unet) for f in (straight, resumed)), strict=True)
    for (name, expected), (_, found) in pairs:
        np.testing.assert_array_equal(np.array(found), np.array(expected), err_msg=name)
    assert not (resumed / resumable.CHECKPOINT).exists()


def test_supernet_is_trained_at_several_resolutions(
    taught: tuple[Model, Bank], tmp_path: Path
) -> None:
    teacher, bank = taught
    low = CurriculumSpec((4, 8), (0.5, 0.5))
    spec = dataclasses.replace(SPEC, curriculum=low)
    course, sandwich = curriculum(spec, low.told(UNET)), Sandwich(low.told(UNET), spec)
    stream = batches(spec, bank, sandwich, course, 0)
    seen = [next(stream) for _ in range(course.iterations)]
    assert [x.shape[:3] for x, *_ in seen] == [
        (course.batch(side), side, side) for side in map(course.side, range(len(seen)))
    ]
    x, sigma, end, _ = next(b for b in seen if b[0].shape[1] == 4)
    known = {float(s) / 2 for s in bank.levels.astype(np.float32)}
    assert set(np.array(sigma).tolist()) <= known
    ends = averaged(np.array(bank.states[-1]), 4)
    assert all(np.abs(ends - one).max(axis=(1, 2, 3)).min() < 1e-6 for one in np.array(end))
    made = load_model(train_supernet(spec, teacher, bank, tmp_path))
    assert made.unet.spec.sized and made.unet(x, mx.log(sigma) / 4).shape == x.shape


CHANGES: list[dict[str, Any]] = [
    {"iterations": 9}, {"batch": 8}, {"learning_rate": 1e-3}, {"ema_decay": 0.9},
    {"least": 0.5}, {"drawn": 2}, {"seed": 1},
    {"curriculum": CurriculumSpec((4, 8), (0.5, 0.5))},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_key_changes_with_every_setting(change: dict[str, Any]) -> None:
    assert {n for c in CHANGES for n in c} == {f.name for f in dataclasses.fields(SupernetSpec)}
    changed = dataclasses.replace(SPEC, **change)
    assert supernet_key(changed, "t", "b") != supernet_key(SPEC, "t", "b")


def test_key_changes_with_teacher_trajectories_and_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    key = supernet_key(SPEC, "t", "b")
    assert supernet_key(SPEC, "u", "b") != key != supernet_key(SPEC, "t", "c")
    monkeypatch.setattr(module, "SCHEMA", module.SCHEMA + 1)
    assert supernet_key(SPEC, "t", "b") != key
