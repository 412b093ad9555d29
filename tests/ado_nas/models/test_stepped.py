"""Networks that are wide at some steps alone, against the networks of their steps."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.preconditioning import denoise
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.distillation.student import landing_loss, stepped_loss
from ado_nas.errors import ModelError, SpecError
from ado_nas.modelfolder import SAMPLER, load_model, save_model
from ado_nas.models.inherit import inherit
from ado_nas.models.stepped import SteppedUNet, build_network, held_bytes, networks
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import SamplerSpec, UNetSpec
from ado_nas.training.step import Stepper, gradients, schedule
from ado_nas.widths import narrowed

SPEC = UNetSpec(
    resolution=8,
    widths=(8, 16),
    attention=("none", "none"),
    middle=False,
    activation="relu",
    num_classes=3,
    time_width=16,
)
SHARES = (0.5, 1.0, 0.5)
LEVELS = karras_levels(3, 0.02, 40.0)

pytestmark = pytest.mark.usefixtures("own_lock")


def stepped(seed: int = 3) -> SteppedUNet:
    model = build_network(SPEC, SHARES, 7)
    assert isinstance(model, SteppedUNet)
    rng = np.random.default_rng(seed)
    shaken = [
        (name, value + mx.array(0.1 * rng.standard_normal(value.shape).astype(np.float32)))
        for name, value in named_parameters(model)
    ]
    model.load_weights(shaken)
    return model


def alone(model: UNet) -> list[UNet]:
    """The networks of the steps with weights of their own."""
    made = []
    for share in SHARES:
        student = build_unet(narrowed(SPEC, share), 1)
        inherit(student, model, "leading")
        made.append(student)
    return made


def test_each_step_is_sampled_by_its_own_network() -> None:
    model = stepped()
    start, labels = noise(0, 4, (8, 8, 1)), np.arange(4, dtype=np.int32) % 3
    x = mx.array(start) * float(LEVELS[0])
    for one, now, then in zip(alone(model), LEVELS[:-1], LEVELS[1:], strict=True):
        clean = denoise(one, x, mx.array([now], dtype=mx.float32), mx.array(labels))
        x = float(then / now) * x + (1 - float(then / now)) * clean
    found = generate(model, "ddim", LEVELS, start, labels)
    np.testing.assert_allclose(found, np.array(x), rtol=1e-5, atol=1e-5)


def test_called_by_itself_it_runs_whole() -> None:
    model, plain = stepped(), build_unet(SPEC, 1)
    inherit(plain, model)
    x, level = mx.array(noise(0, 2, (8, 8, 1))), mx.array([0.3])
    np.testing.assert_array_equal(np.array(model(x, level)), np.array(plain(x, level)))


def test_networks_follow_the_weights() -> None:
    model = stepped()
    before = np.array(model.networks[0].conv_in.bias)
    model.load_weights(list(named_parameters(stepped(seed=4))))
    assert not np.array_equal(np.array(model.networks[0].conv_in.bias), before)
    assert model.networks[0] is model.networks[2]  # steps of one width share theirs


def test_networks_follow_a_training_and_its_average() -> None:
    model = stepped()
    assert model.networks  # as those who time a model ask for, before it is trained
    rng = np.random.default_rng(0)
    x, target = (mx.array(rng.standard_normal((6, 8, 8, 1)).astype(np.float32)) for _ in "ab")
    sigma = mx.array(LEVELS[np.arange(6) % 3].astype(np.float32))
    stepper = Stepper(model, stepped_loss, schedule(1e-2, 0, 9), 0.9)
    for _ in range(2):
        stepper(x, sigma, target, mx.zeros(6, mx.int32))

    def agree() -> bool:
        pairs = zip(model.networks, alone(model), strict=True)
        sides = [[dict(named_parameters(one)) for one in pair] for pair in pairs]
        return all(np.array_equal(a[name], b[name]) for a, b in sides for name in a)

    assert agree()
    with stepper.averaged():
        before = model.networks[0]
        assert agree() and model.networks[0] is before
    assert agree() and model.networks[0] is not before
    stepper(x, sigma, target, mx.zeros(6, mx.int32))
    stepper.load_average()
    assert agree()


def test_another_number_of_steps_is_refused() -> None:
    with pytest.raises(SpecError, match=r"made for 3 steps .* not 2"):
        networks(stepped(), 2)
    plain = build_unet(SPEC)
    assert networks(plain, 2) == [plain, plain]


def test_loss_trains_each_jump_by_the_network_of_its_step() -> None:
    model = stepped()
    rng = np.random.default_rng(0)
    x, target = (mx.array(rng.standard_normal((7, 8, 8, 1)).astype(np.float32)) for _ in "ab")
    steps = np.arange(7) % 3
    sigma = mx.array(LEVELS[steps].astype(np.float32))
    labels = mx.array(np.arange(7) % 3)
    arrays = x, sigma, target, labels
    own = alone(model)
    single = [
        float(landing_loss(own[steps[i]], *(a[i : i + 1] for a in arrays))) for i in range(7)
    ]
    found, grads = gradients(stepped_loss, model, [arrays])
    assert float(found) == pytest.approx(np.mean(single), rel=1e-5)
    assert all(float(mx.abs(g).max()) > 0 for n, g in grads.items() if n.endswith("weight"))


def test_model_folder_keeps_the_widths_of_the_steps(tmp_path: Path) -> None:
    model = stepped()
    save_model(tmp_path, model, SamplerSpec("ddim", "karras", 3), LEVELS, {})
    loaded = load_model(tmp_path).unet
    assert isinstance(loaded, SteppedUNet) and loaded.shares == SHARES
    start = noise(0, 2, (8, 8, 1))
    pair = [generate(m, "ddim", LEVELS, start) for m in (model, loaded)]
    np.testing.assert_array_equal(*pair)
    path = tmp_path / SAMPLER
    path.write_text(path.read_text().replace("0.5", "-0.5", 1))
    with pytest.raises(ModelError, match="give 3 shares"):
        load_model(tmp_path)


def test_narrow_copies_count_as_memory() -> None:
    model = stepped()
    sizes = [
        sum(v.nbytes for _, v in named_parameters(m))
        for m in (model, build_unet(narrowed(SPEC, 0.5)))
    ]
    assert held_bytes(model) == sum(sizes)
    assert held_bytes(build_unet(SPEC)) == sizes[0]
