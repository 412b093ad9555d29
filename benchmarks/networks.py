"""Networks at random out of a wide space, the same ones for a seed."""

from __future__ import annotations

from ado_nas.specs import UNetSpec
from search_spaces.chooser import RandomChooser
from search_spaces.space import Space
from search_spaces.unet import draw_unet

BASE = UNetSpec(resolution=16, num_classes=10, sigma_data=0.7)
SPACE = Space(
    widths=("8-16", "16-16", "12-24", "16-32", "24-32", "24-48", "32-64", "48-96", "16-32-64"),
    patch=(1, 2),
    blocks=("1", "1-2", "2-1", "2"),
    attention=("none", "low", "all", "low:linear", "all:linear", "low:window", "all:window"),
    head_dim=(8, 16),
    conv=("full", "separable"),
    norm=("group", "rms"),
    activation=("relu", "hardswish", "silu"),
    resample=("conv-conv", "pool-nearest", "fold-fold"),
    middle=(False, True),
    skip=("concat", "add"),
    time_width=(32, 64),
)


def drawn(seed: int, count: int) -> list[UNetSpec]:
    """Different networks out of the space, the same ones for a seed."""
    chooser = RandomChooser(seed)
    found: dict[str, UNetSpec] = {}
    while len(found) < count:
        spec = draw_unet(SPACE, chooser, BASE)
        found.setdefault(spec.hash, spec)
    return list(found.values())
