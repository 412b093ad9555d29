"""Model folders that were damaged, or made by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import ModelError
from ado_nas.files import read_json, sha256, write_json
from ado_nas.modelfolder import (
    CARD,
    SAMPLER,
    WEIGHTS,
    check_identity,
    identity,
    load_model,
    save_model,
)
from ado_nas.models.unet import build_unet
from ado_nas.specs import SamplerSpec, UNetSpec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    unet = build_unet(UNetSpec(resolution=8, widths=(4,), blocks=(1,), attention=("none",)))
    save_model(tmp_path, unet, SamplerSpec(nfe=2), karras_levels(2, 0.02, 40.0), {})
    return tmp_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"levels": ["a", 0]}, "levels is no list of numbers"),
        ({"levels": {"40": 0}}, "levels is no list of numbers"),
        ({"levels": [[40.0], [0.0]]}, "levels is no list of numbers"),
        ({"levels": [40.0, float("nan"), 0.0]}, "levels must fall to 0"),
        ({"levels": []}, "levels must fall to 0"),
        ({"step_widths": ["x"]}, "step_widths is no list of numbers"),
        ({"step_widths": 3}, "step_widths is no list of numbers"),
        ({"step_widths": [0.5]}, "give 2 shares"),
    ],
)
def test_sampler_that_cannot_be_read_is_told(
    folder: Path, change: dict[str, Any], said: str
) -> None:
    write_json(folder / SAMPLER, {**read_json(folder / SAMPLER), **change})
    with pytest.raises(ModelError, match=said) as told:
        load_model(folder)
    assert str(folder / SAMPLER) in str(told.value)


def test_what_was_learned_with_another_guidance_is_refused(folder: Path) -> None:
    model = load_model(folder)
    told = identity(model)
    check_identity(told, model, "x.json")
    check_identity({k: v for k, v in told.items() if k != "guidance"}, model, "x.json")
    sampler = dataclasses.replace(model.sampler, guidance=2.5)
    with pytest.raises(ModelError, match=r"x\.json: learned with a guidance of 1.* now .* 2\.5"):
        check_identity(told, dataclasses.replace(model, sampler=sampler), "x.json")


def test_card_without_a_hash_takes_that_of_the_weights(folder: Path) -> None:
    (folder / CARD).write_text(json.dumps({"kind": "teacher"}))
    model = load_model(folder)
    assert identity(model)["weights_sha256"] == sha256(folder / WEIGHTS)
    assert model.card["kind"] == "teacher"
