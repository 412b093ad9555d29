"""Compacted sampling against the plain loop over all images."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.adaptive.compaction import compacted
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.preconditioning import denoiser
from ado_nas.diffusion.sampling import noise
from ado_nas.diffusion.solvers import RULE, Point, multistep
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import UNetSpec

SPEC = UNetSpec(
    resolution=8, widths=(8,), blocks=(1,), attention=("none",), activation="relu", num_classes=3
)
COUNTS = np.array([3, 6, 2, 5, 3])


@pytest.fixture(scope="module")
def unet() -> UNet:
    found = build_unet(SPEC)
    found.load_weights(
        [
            (name, value + 0.05 * mx.random.normal(value.shape, key=mx.random.key(i)))
            for i, (name, value) in enumerate(named_parameters(found))
        ]
    )
    return found


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("solver", list(RULE))
def test_images_are_those_of_the_plain_loop(unet: UNet, solver: str, guidance: float) -> None:
    levels = np.zeros((COUNTS.max() + 1, len(COUNTS)))
    for i, count in enumerate(COUNTS):
        levels[: count + 1, i] = karras_levels(count, 0.05, 20.0)
    x, labels = mx.array(noise(0, len(COUNTS), (8, 8, 1))), mx.array([0, 1, 2, 0, 1])
    asked: list[int] = []

    def following(done: int, rows: np.ndarray, past: list[Point]) -> np.ndarray:
        asked.extend([len(rows), past[-1].x.shape[0]])
        return levels[done, rows]

    found, spent = compacted(unet, RULE[solver], 20.0, following, x, labels, guidance)
    run = multistep(RULE[solver])
    *_, (expected, _) = run(denoiser(unet, labels, guidance), x * 20.0, levels)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_array_equal(spent, COUNTS)
    # Only images still in work are asked for, and evaluated.
    assert asked[::2] == asked[1::2] == [5, 5, 4, 2, 2, 1]
