"""A student that changes while it learns: when, how far, and what the gate makes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.diffusion.levels import karras_levels
from ado_nas.distillation.adaptation import Adapted, Gate, adapt, adapting, landing
from ado_nas.distillation.student import Lessons, distill
from ado_nas.distillation.trajectories import build_bank
from ado_nas.errors import SpecError
from ado_nas.modelfolder import Model
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import DistillationSpec, SamplerSpec, TrajectorySpec, UNetSpec

TARGET = UNetSpec(
    resolution=8, widths=(8, 8), blocks=(1, 1), attention=("none", "none"), activation="relu",
    time_width=32, middle=False,
)  # fmt: skip
WIDE = dataclasses.replace(TARGET, widths=(16, 16), blocks=(2, 1))
SMALL = dataclasses.replace(TARGET, widths=(4, 4))
LEARN = DistillationSpec(steps=2, iterations=20, batch=8, learning_rate=5e-3)
POINTS = (0.2, 0.4, 0.6)

pytestmark = pytest.mark.usefixtures("own_lock")


@pytest.fixture
def lessons(tmp_path: Path) -> Lessons:
    unet = build_unet(TARGET, 1)
    unet.conv_out.weight = 0.1 * mx.random.normal(unet.conv_out.weight.shape, key=mx.random.key(0))
    model = Model(unet, SamplerSpec(), karras_levels(4, 0.02, 40.0), {"weights_sha256": "a"})
    bank = build_bank(TrajectorySpec(count=40, levels=6), model, tmp_path)
    return Lessons(bank, bank.schedule("karras", 2))


def lenient(_: UNet) -> float:
    return 1.0


class Scripted:
    """Qualities by turn: one before each change and one after its recovery."""

    def __init__(self, *qualities: float) -> None:
        self.left = list(qualities)

    def __call__(self, _: UNet) -> float:
        return self.left.pop(0)


@pytest.mark.parametrize("first", [WIDE, SMALL], ids=["prune", "grow"])
def test_network_ends_at_its_target_and_has_learned(first: UNetSpec, lessons: Lessons) -> None:
    taught, judged = lessons.parted(8)
    measure = landing(judged, 16)
    found = adapt(build_unet(first, 5), TARGET, taught, LEARN, Gate(lenient, points=POINTS))
    assert found.unet.spec == TARGET
    assert found.decisions and all(d.accepted for d in found.decisions)
    assert found.decisions[-1].new_widths == TARGET.widths
    assert [d.judged - d.iteration for d in found.decisions] == [2] * len(found.decisions)
    assert {d.iteration for d in found.decisions} <= {4, 8, 12}
    assert measure(found.unet) < 0.9 * measure(build_unet(TARGET, 5))


def test_refused_change_leaves_everything_as_it_was(lessons: Lessons) -> None:
    """The change is refused the moment it is judged; what trained on is what would have."""
    adapted = Adapted(build_unet(WIDE, 5))
    before: dict[str, np.ndarray] = {}

    def measure(unet: UNet) -> float:
        if not before:
            before.update({n: np.array(v) for n, v in named_parameters(unet)})
            return 1.0
        return 2.0

    gate = Gate(measure, points=(0.5,), recovery=0.5)
    run = adapting(adapted, TARGET, lessons, LEARN, gate, seed=0)
    for iteration, _ in run:
        if iteration == 10:
            assert adapted.unet.spec == TARGET
    (decision,) = adapted.decisions
    assert not decision.accepted and (decision.quality, decision.new_quality) == (1.0, 2.0)
    assert adapted.unet.spec == WIDE
    # Nothing was trained after the refusal, so the average is the one that was measured.
    for name, value in named_parameters(adapted.unet):
        np.testing.assert_array_equal(value, before[name])


def test_later_points_try_what_was_refused_again(lessons: Lessons) -> None:
    gate = Gate(Scripted(1, 9, 1, 1, 1, 1), points=POINTS)
    found = adapt(build_unet(WIDE, 5), TARGET, lessons, LEARN, gate)
    assert [d.accepted for d in found.decisions] == [False, True, True]
    assert found.unet.spec == TARGET


def test_network_keeps_the_last_size_that_passed(lessons: Lessons) -> None:
    gate = Gate(Scripted(1, 1.05, 1, 9, 1, 9), points=POINTS, tolerance=0.1)
    found = adapt(build_unet(WIDE, 5), TARGET, lessons, LEARN, gate)
    assert [d.accepted for d in found.decisions] == [True, False, False]
    passed = found.decisions[0]
    assert (found.unet.spec.widths, found.unet.spec.blocks) == (
        passed.new_widths, passed.new_blocks,
    )  # fmt: skip
    assert passed.widths > passed.new_widths > TARGET.widths


def test_network_that_has_its_size_trains_as_a_plain_student(lessons: Lessons) -> None:
    one, two = build_unet(TARGET, 5), build_unet(TARGET, 5)
    found = adapt(one, TARGET, lessons, LEARN, Gate(lenient), seed=4)
    for _ in distill(two, lessons, LEARN, seed=4):
        pass
    assert found.decisions == []
    for (_, a), (_, b) in zip(named_parameters(found.unet), named_parameters(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_held_back_trajectories_are_not_taught(lessons: Lessons) -> None:
    taught, judged = lessons.parted(8)
    assert (taught.rows, judged.rows) == ((0, 32), (32, 40))
    states = lessons.bank.states
    begin = lessons.path[:-1]
    for part, own in ((taught, slice(0, 32)), (judged, slice(32, 40))):
        x = np.array(part.batch(np.random.default_rng(0), 20)[0])
        known = states[begin, own].reshape(-1, *x.shape[1:])
        assert all((known == image).all(axis=(1, 2, 3)).any() for image in x)


@pytest.mark.parametrize(
    "wrong",
    [
        {"points": (0.3, 0.35)},
        {"points": (0.95,)},
        {"points": (0.0, 0.5)},
        {"recovery": 0.0},
        {"watched": 0},
        {"tolerance": -1.0},
    ],
    ids=str,
)
def test_gate_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=r"room for the recovery|watch at least"):
        Gate(lenient, **wrong)  # type: ignore[arg-type]
