"""Noise levels in closed form, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ado_nas.diffusion.levels import ays_levels, uniform_levels
from ado_nas.diffusion.schedules import closed_form
from ado_nas.errors import SpecError
from ado_nas.specs import CLOSED_FORMS


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_levels_fall_from_end_to_end(name: str) -> None:
    levels = closed_form(name, 7, 0.02, 40.0, 0.5)
    assert levels[0] == pytest.approx(40.0) and levels[-2] == pytest.approx(0.02)
    assert levels[-1] == 0 and np.all(np.diff(levels) < 0) and len(levels) == 8
    assert list(closed_form(name, 1, 0.02, 40.0, 0.5)) == pytest.approx([40.0, 0.0])
    with pytest.raises(SpecError, match="nfe 0"):
        closed_form(name, 0, 0.02, 40.0, 0.5)


def test_ays_levels_are_even_in_the_angle() -> None:
    angles = np.arctan(ays_levels(6, 0.02, 40.0, 0.3)[:-1] / 0.3)
    np.testing.assert_allclose(np.diff(angles, 2), 0, atol=1e-12)


def test_uniform_levels_are_even_in_ddpm_timesteps() -> None:
    """sigma^2 = 1 / alpha_bar - 1, with DDPM's betas from 1e-4 to 0.02 over 1000 timesteps."""
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    sigmas = np.sqrt(1 / alpha_bar - 1)
    wanted = sigmas[[999, 799, 599, 399, 199]]
    found = uniform_levels(5, float(sigmas[199]), float(sigmas[999]))
    for a, b in zip(found, wanted, strict=False):
        assert math.log(a / b) == pytest.approx(0, abs=0.02)
