"""The bank: what it holds, when it is made again, and which levels a student visits."""

from __future__ import annotations

import dataclasses
import errno
import itertools
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.solvers import SOLVER
from ado_nas.distillation import trajectories
from ado_nas.distillation.student import Lessons, distill, landing_loss
from ado_nas.distillation.trajectories import (
    META,
    STATES,
    bank_key,
    build_bank,
    nearest_indices,
)
from ado_nas.modelfolder import Model
from ado_nas.models.unet import build_unet
from ado_nas.specs import (
    MULTISTEP_SOLVERS,
    DistillationSpec,
    SamplerSpec,
    TrajectorySpec,
    UNetSpec,
)

UNET = UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",), num_classes=3)
SPEC = TrajectorySpec(count=40, levels=6)

pytestmark = pytest.mark.usefixtures("own_lock")


def teacher(name: str = "a") -> Model:
    unet = build_unet(UNET, 1)
    unet.conv_out.weight = 0.1 * mx.random.normal(unet.conv_out.weight.shape, key=mx.random.key(0))
    return Model(unet, SamplerSpec(), karras_levels(4, 0.02, 40.0), {"weights_sha256": name})


def test_bank_holds_the_run_of_its_solver(tmp_path: Path) -> None:
    bank = build_bank(dataclasses.replace(SPEC, solver="ddim"), teacher(), tmp_path)
    assert bank.states.shape == (7, 40, 8, 8, 1) and bank.levels[-1] == 0
    np.testing.assert_allclose(bank.states[0].std(), 40, rtol=0.05)
    assert list(bank.labels[:4]) == [0, 1, 2, 0]
    implied = trajectories.implied_denoised(bank.states, bank.levels)
    landed = bank.states[0] + (bank.levels[1] - bank.levels[0]) * (
        bank.states[0] - implied[0]
    ) / float(bank.levels[0])
    np.testing.assert_allclose(landed, bank.states[1], atol=1e-3)
    for i, j in itertools.pairwise(range(7)):
        assert bank.costs[i, j] < 1e-6  # one DDIM step is what the teacher did


def test_bank_that_a_disk_has_no_room_for_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, size: int) -> None:
        assert size == 128 + 7 * 40 * 8 * 8 * 4  # header and states
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(trajectories.os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="no space left"):
        build_bank(SPEC, teacher(), tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if STATES in p.name] == []


def test_finished_bank_is_opened_not_made(tmp_path: Path) -> None:
    build_bank(SPEC, teacher(), tmp_path)
    calls: list[int] = []
    build_bank(SPEC, teacher(), tmp_path, lambda s, done, n, note="": calls.append(done))
    assert calls == []


@pytest.mark.parametrize("damage", ["truncate", "flip", "foreign", "no_meta", "bad_meta"])
def test_damaged_bank_is_made_again(tmp_path: Path, damage: str) -> None:
    bank = build_bank(SPEC, teacher(), tmp_path)
    expected = np.array(bank.states)
    folder = tmp_path / bank.key
    states, meta = folder / STATES, folder / META
    content = states.read_bytes()
    if damage == "truncate":
        states.write_bytes(content[:-100])
    elif damage == "flip":
        states.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "foreign":
        other = build_bank(dataclasses.replace(SPEC, seed=9), teacher(), tmp_path)
        meta.write_bytes((tmp_path / other.key / META).read_bytes())
    elif damage == "no_meta":
        meta.unlink()
    else:
        meta.write_text("{")
    np.testing.assert_array_equal(build_bank(SPEC, teacher(), tmp_path).states, expected)
    made_again = meta.stat().st_mtime_ns
    np.testing.assert_array_equal(build_bank(SPEC, teacher(), tmp_path).states, expected)
    assert meta.stat().st_mtime_ns == made_again


@pytest.mark.parametrize(
    "change",
    [
        {"count": 41},
        {"levels": 7},
        {"solver": "ddim"},
        {"guidance": 1.5},
        {"sigma_min": 0.03},
        {"sigma_max": 50.0},
        {"seed": 2},
    ],
)
def test_key_changes_with_every_setting(change: dict[str, object]) -> None:
    assert len(dataclasses.fields(TrajectorySpec)) == 7  # a new one needs a row here
    changed = dataclasses.replace(SPEC, **change)  # type: ignore[arg-type]
    assert bank_key(changed, "t") != bank_key(SPEC, "t")
    assert bank_key(SPEC, "u") != bank_key(SPEC, "t")


def test_key_changes_with_what_the_weights_mean(tmp_path: Path) -> None:
    one = teacher()
    other = dataclasses.replace(one, unet=build_unet(dataclasses.replace(UNET, activation="gelu")))
    small = dataclasses.replace(SPEC, count=2, levels=2)
    assert build_bank(small, one, tmp_path).key != build_bank(small, other, tmp_path).key


def test_nearest_indices_rise_and_end_at_the_last() -> None:
    grid = karras_levels(20, 0.02, 40.0)
    for count in range(1, 21):
        indices = nearest_indices(karras_levels(count, 0.02, 40.0), grid)
        assert indices[0] == 0 and indices[-1] == 20
        assert all(a < b for a, b in itertools.pairwise(indices))
    assert nearest_indices(grid, grid) == list(range(21))


def test_perfect_student_has_no_loss_and_lands_on_the_bank(tmp_path: Path) -> None:
    """The target is what one DDIM step needs: a student that returns it reproduces the path."""
    bank = build_bank(SPEC, teacher(), tmp_path)
    lessons = Lessons(bank, bank.schedule("dp", 3))
    x, sigma, target, _ = lessons.batch(np.random.default_rng(0), 30)
    path = np.array(lessons.path)
    for row in range(30):
        jump = row % 3
        then = bank.levels[path[jump + 1]]
        ratio = then / float(sigma[row])
        landed = ratio * np.array(x[row]) + (1 - ratio) * np.array(target[row])
        distance = np.abs(bank.states[path[jump + 1]] - landed).max(axis=(1, 2, 3)).min()
        assert distance < 1e-3


@pytest.mark.parametrize("solver", MULTISTEP_SOLVERS)
def test_perfect_student_follows_the_bank_by_any_solver(solver: str, tmp_path: Path) -> None:
    bank = build_bank(SPEC, teacher(), tmp_path)
    lessons = Lessons(bank, bank.schedule("karras", 5), solver=solver)
    rows = np.arange(8)
    wanted = [mx.array(lessons.targets(jump, rows)) for jump in range(5)]
    turn = iter(wanted)
    states = SOLVER[solver](lambda *_: next(turn), mx.array(bank.states[0, rows]), lessons.levels)
    for place, (state, _) in zip(lessons.path[1:], states, strict=True):
        np.testing.assert_allclose(np.array(state), bank.states[place, rows], atol=2e-4)
    x, _, target, _ = lessons.batch(np.random.default_rng(0), 10)
    for jump in range(5):  # the batch asks for what these steps need
        known = bank.states[lessons.path[jump]]
        at = np.flatnonzero(np.all(known == np.array(x[jump]), axis=(1, 2, 3)))
        np.testing.assert_array_equal(lessons.targets(jump, at)[0], np.array(target[jump]))


def test_student_learns_and_ends_with_its_average(tmp_path: Path) -> None:
    bank = build_bank(SPEC, teacher(), tmp_path)
    lessons = Lessons(bank, bank.schedule("karras", 2))
    student = build_unet(UNET, 5)
    batch = lessons.batch(np.random.default_rng(1), 64)
    before = float(landing_loss(student, *batch))
    spec = DistillationSpec(steps=2, iterations=60, batch=32, learning_rate=5e-3)
    done = [iteration for iteration, _ in distill(student, lessons, spec, seed=0)]
    assert done == list(range(1, 61))
    assert float(landing_loss(student, *batch)) < 0.5 * before
