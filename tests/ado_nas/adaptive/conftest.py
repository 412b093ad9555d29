"""A small network whose images depend on its noise, for tests that do not train one."""

from __future__ import annotations

import pytest

from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import UNetSpec

SPEC = UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",), activation="relu")


@pytest.fixture(scope="module")
def unet() -> UNet:
    found = build_unet(SPEC)
    found.load_weights([(name, value + 0.1) for name, value in named_parameters(found)])
    return found
