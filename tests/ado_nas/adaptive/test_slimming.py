"""Widths by noise level, against brute force and against the networks of the widths."""

from __future__ import annotations

import itertools
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.adaptive import slimming
from ado_nas.adaptive.slimming import cheapest_widths, cut, slim_path, slimmed, width_costs
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.preconditioning import denoise
from ado_nas.diffusion.schedules import cheapest_path
from ado_nas.distillation.trajectories import Bank, build_bank
from ado_nas.errors import SpecError
from ado_nas.modelfolder import Model
from ado_nas.models.stepped import SteppedUNet
from ado_nas.models.unet import UNet, build_unet
from ado_nas.specs import SamplerSpec, TrajectorySpec, UNetSpec

SPEC = UNetSpec(
    resolution=8,
    widths=(16,),
    blocks=(1,),
    attention=("none",),
    middle=False,
    activation="relu",
    num_classes=3,
    time_width=16,
)

pytestmark = pytest.mark.usefixtures("own_lock")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Bank]:
    unet = build_unet(SPEC, 1)
    unet.conv_out.weight = 0.1 * mx.random.normal(unet.conv_out.weight.shape, key=mx.random.key(0))
    teacher = Model(unet, SamplerSpec(), karras_levels(4, 0.02, 40.0), {"weights_sha256": "a"})
    folder = tmp_path_factory.mktemp("bank")
    return teacher, build_bank(TrajectorySpec(count=16, levels=5), teacher, folder)


def random_costs(seed: int, widths: int, count: int) -> np.ndarray:
    costs = np.random.default_rng(seed).random((widths, count, count)) ** 2
    costs[:, *np.tril_indices(count)] = np.inf
    return costs


@pytest.mark.parametrize("budget", [0.5, 1.0, 1.5, 2.25, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_widths_agree_with_brute_force(seed: int, budget: float) -> None:
    prices, count = np.array([0.25, 0.5, 1.0]) * budget / (2 * budget), 5
    costs = random_costs(seed, 3, count)
    best = np.inf
    for jumps in range(1, count):
        for middle in itertools.combinations(range(1, count - 1), jumps - 1):
            way = (0, *middle, count - 1)
            for widths in itertools.product(range(3), repeat=jumps):
                if prices[list(widths)].sum() <= budget:
                    legs = zip(widths, way, way[1:], strict=False)
                    best = min(best, sum(costs[s, a, b] for s, a, b in legs))
    path, widths = cheapest_widths(costs, prices, budget)
    assert path[0] == 0 and path[-1] == count - 1 and np.all(np.diff(path) > 0)
    assert prices[widths].sum() <= budget
    assert sum(costs[s, a, b] for s, a, b in zip(widths, path, path[1:], strict=False)) == (
        pytest.approx(best)
    )


def test_one_width_is_the_cheapest_path_of_so_many_jumps() -> None:
    costs = random_costs(7, 1, 8)
    for jumps in range(1, 8):
        path, _ = cheapest_widths(costs, np.ones(1), jumps)
        ways = [cheapest_path(costs[0], n) for n in range(1, jumps + 1)]
        assert path in ways
        least = min(sum(costs[0, a, b] for a, b in itertools.pairwise(w)) for w in ways)
        found = sum(costs[0, a, b] for a, b in itertools.pairwise(path))
        assert found == pytest.approx(least)


def test_budget_below_a_single_jump_is_refused() -> None:
    with pytest.raises(SpecError, match=r"give 0\.5 or more"):
        cheapest_widths(random_costs(0, 2, 4), np.array([0.5, 1.0]), 0.4)


def test_costs_are_those_of_the_networks_of_each_width(taught: tuple[Model, Bank]) -> None:
    teacher, bank = taught
    costs = width_costs(teacher.unet, (0.5, 1.0), bank)
    assert costs.shape == (2, 6, 6)
    labels = mx.array(bank.labels)
    for s, share in enumerate((0.5, 1.0)):
        level, then = bank.levels[1], bank.levels[3]
        x = mx.array(bank.states[1])
        clean = denoise(cut(teacher.unet, share), x, mx.array([level], mx.float32), labels)
        landed = np.array(x) * then / level + (1 - then / level) * np.array(clean)
        left = bank.sigma_data**2 / (then**2 + bank.sigma_data**2)
        wanted = left * np.mean((landed - bank.states[3]) ** 2)
        assert costs[s, 1, 3] == pytest.approx(wanted, rel=1e-4)
    # The trajectories are the whole network's own.
    assert np.all(costs[1][np.triu_indices(6, 1)] <= costs[0][np.triu_indices(6, 1)] + 1e-6)


def test_prices_are_those_of_the_clock(
    taught: tuple[Model, Bank], monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_turn(calls: list[tuple[int, int]]) -> list[float]:
        return [3.0 + nfe * width for width, nfe in calls]

    def call(unet: UNet, _: str, levels: np.ndarray, *__: float) -> tuple[int, int]:
        return unet.spec.widths[0], len(levels) - 1

    monkeypatch.setattr(slimming, "time_in_turn", in_turn)
    monkeypatch.setattr(slimming, "sampling_call", call)
    found = slimming.call_prices(taught[0].unet, (0.25, 0.5, 1.0))
    assert found == pytest.approx([0.25, 0.5, 1.0])
    monkeypatch.setattr(slimming, "time_in_turn", lambda calls: [1, 5, 1, 3, 1, 9])
    wavered = slimming.call_prices(taught[0].unet, (0.25, 0.5, 1.0))
    assert wavered == pytest.approx([0.5, 0.5, 1.0])  # a wider one is never cheaper


def test_path_becomes_a_network_that_runs_by_its_widths(
    taught: tuple[Model, Bank], tmp_path: Path
) -> None:
    teacher, bank = taught
    shares = (0.5, 1.0)
    costs = width_costs(teacher.unet, shares, bank)
    found = slim_path(costs, np.array([0.4, 1.0]), shares, bank.levels, 2.0)
    assert found.calls <= 2 and found.levels[-1] == 0
    assert len(found.shares) == len(found.levels) - 1
    model = slimmed(teacher.unet, (0.5, 1.0, 0.5))
    assert isinstance(model, SteppedUNet)
    x, level = mx.array(bank.states[0]), mx.array([3.0])
    for share, network in zip(model.shares, model.networks, strict=True):
        one = np.array(cut(teacher.unet, share)(x, level))
        np.testing.assert_allclose(np.array(network(x, level)), one, rtol=1e-6, atol=1e-6)
    assert slimmed(teacher.unet, (1.0, 1.0)) is teacher.unet
