"""A game on a small untrained network, with pixels for features."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.adaptive.countdown import countdown
from ado_nas.adaptive.practice import Practice, Truth, practice
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import noise
from ado_nas.distillation.trajectories import Bank
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import UNetSpec

CLASSES = 3


def small_unet() -> UNet:
    spec = UNetSpec(
        resolution=8, widths=(8,), blocks=(1,), attention=("none",), num_classes=CLASSES
    )
    unet = build_unet(spec)
    moved = [
        (name, value + 0.05 * mx.random.normal(value.shape, key=mx.random.key(i)))
        for i, (name, value) in enumerate(named_parameters(unet))
    ]
    unet.load_weights(moved)
    return unet


def random_bank(levels: int = 12, seed: int = 0) -> Bank:
    """A grid with costs at random; it holds no states."""
    grid = karras_levels(levels, 0.02, 40.0)
    costs = np.random.default_rng(seed).uniform(0.1, 1.0, (levels + 1, levels + 1))
    costs[np.tril_indices(levels + 1)] = np.inf
    return Bank(np.zeros((levels + 1, 0)), None, grid, costs, "")


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def small_practice(
    count: int = 12, solver: str = "dpmpp_2m", limit: int = 5, mean_nfe: float = 2.5
) -> Practice:
    features: Any = flat
    labels = np.arange(count, dtype=np.int32) % CLASSES
    ends = np.random.default_rng(1).normal(0, 0.5, (count, 64)).astype(np.float32)
    truth = Truth(noise(3, count, (8, 8, 1)), labels, ends, features)
    game = countdown(random_bank(), solver, limit)
    return practice(small_unet(), game, truth, mean_nfe)
