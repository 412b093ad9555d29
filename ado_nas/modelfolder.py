"""Models on disk: a folder of weights, spec, sampler and a card that says where it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.diffusion.levels import Levels
from ado_nas.errors import AdoNasError, ConfigError, ModelError
from ado_nas.files import read_json, replacing, sha256, write_json
from ado_nas.models.stepped import SteppedUNet, network
from ado_nas.models.unet import UNet, named_parameters
from ado_nas.specs import SamplerSpec, UNetSpec, from_dict, to_dict

WEIGHTS, SPEC, SAMPLER, CARD = "model.safetensors", "spec.json", "sampler.json", "card.json"


@dataclass(frozen=True)
class Model:
    """A loaded model, ready to sample."""

    unet: UNet
    sampler: SamplerSpec
    levels: Levels  # (T + 1,), falling, the last 0
    card: dict[str, Any]
    folder: Path | None = None

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of images that it was trained for, px, rising; its own is the last."""
        return tuple(self.card.get("resolutions", ())) or (self.unet.spec.resolution,)

    def at(self, side: int) -> Levels:
        """The noise levels of its sampler for images of another side.

        Args:
            side: of the images, px.

        Returns:
            (T + 1,), scaled by the ratio of the sides: the same noise is weaker where pixels are
            averaged.

        Raises:
            ConfigError: it was not trained for that side.
        """
        if side not in self.resolutions:
            known = ", ".join(f"{r} px" for r in self.resolutions)
            raise ConfigError(f"resolution {side}: this model makes images of {known}")
        return self.levels * side / self.unet.spec.resolution


def save_model(
    folder: Path, unet: UNet, sampler: SamplerSpec, levels: Levels, card: dict[str, Any]
) -> None:
    """Write a model folder; the card comes last, so that a folder with a card is whole.

    Args:
        folder: made where missing.
        unet: the network with the weights to keep.
        sampler: how it is sampled.
        levels: (T + 1,), the noise levels the sampler visits.
        card: plain values: provenance and figures.
    """
    with replacing(folder / WEIGHTS) as partial:
        mx.save_safetensors(str(partial), dict(named_parameters(unet)), {"format": "mlx"})
    write_json(folder / SPEC, to_dict(unet.spec))
    keep_sampler(folder, sampler, levels, unet.shares if isinstance(unet, SteppedUNet) else ())
    write_json(folder / CARD, {**card, "weights_sha256": sha256(folder / WEIGHTS)})


def keep_sampler(
    folder: Path, sampler: SamplerSpec, levels: Levels, shares: tuple[float, ...] = ()
) -> None:
    """Write how a model is sampled, where its folder says otherwise.

    Args:
        folder: of the model.
        sampler: solver and schedule.
        levels: (T + 1,), the noise levels it visits.
        shares: of the widths at each step; empty for all of it.
    """
    facts = {**to_dict(sampler), "levels": [float(v) for v in levels]}
    if shares:
        facts["step_widths"] = list(shares)
    if read_json(folder / SAMPLER) != facts:
        write_json(folder / SAMPLER, facts)


def intact(folder: Path) -> bool:
    """Whether a model folder has all its files, and the weights that its card names."""
    tables, path = [read_json(folder / n) for n in (CARD, SPEC, SAMPLER)], folder / WEIGHTS
    if not path.is_file() or not all(isinstance(table, dict) for table in tables):
        return False
    return tables[0].get("weights_sha256") in (None, sha256(path))


def load_model(folder: Path) -> Model:
    """Read a model folder and evaluate its weights.

    Args:
        folder: as written by `save_model`.

    Returns:
        The model.

    Raises:
        ModelError: a file is missing, truncated, changed, or does not belong to the others.
    """
    spec: UNetSpec = _parsed(folder / SPEC, UNetSpec, _json(folder / SPEC))
    values = _json(folder / SAMPLER)
    levels = np.array(_numbers(folder / SAMPLER, values, "levels"))
    shares = _numbers(folder / SAMPLER, values, "step_widths")
    sampler = _parsed(folder / SAMPLER, SamplerSpec, values)
    card = _json(folder / CARD)
    if len(levels) < 2 or not np.all(np.diff(levels) < 0) or levels[-1] != 0:
        raise ModelError(f"{folder / SAMPLER}: levels must fall to 0; export the model again")
    if shares and (len(shares) != len(levels) - 1 or not all(0 < s <= 1 for s in shares)):
        raise ModelError(
            f"{folder / SAMPLER}: step_widths {shares}: give {len(levels) - 1} shares above 0, at "
            "most 1; export the model again"
        )
    unet = network(spec, shares)
    digest = _load_weights(unet, folder, card.get("weights_sha256"))
    return Model(unet, sampler, levels, {**card, "weights_sha256": digest}, folder)


def identity(model: Model) -> dict[str, Any]:
    """What is written down of the model that something was learned for."""
    return {
        "weights_sha256": model.card["weights_sha256"],
        "resolution": model.unet.spec.resolution,
        "guidance": model.sampler.guidance,
    }


def check_identity(told: Any, model: Model, what: str) -> None:
    """Refuse what was learned for another model.

    Args:
        told: as `identity` gave it.
        model: what is to be sampled.
        what: was learned, in words.

    Raises:
        ModelError: it was learned at another resolution, for other weights, or another weight of
            guidance.
    """
    about = told if isinstance(told, dict) else {}
    side = model.unet.spec.resolution
    if about.get("resolution") != side:
        raise ModelError(
            f"{what}: learned at {about.get('resolution')} px, this model makes {side} px; learn "
            "one for this model"
        )
    if about.get("weights_sha256") != model.card.get("weights_sha256"):
        raise ModelError(f"{what}: learned for another model; learn one for this model")
    guidance = model.sampler.guidance
    if about.get("guidance", guidance) != guidance:  # older files do not tell
        raise ModelError(
            f"{what}: learned with a guidance of {about['guidance']}, this model is now sampled "
            f"with {guidance}; learn one again"
        )


def _parsed(path: Path, cls: Any, values: dict[str, Any]) -> Any:
    try:
        return from_dict(cls, values)
    except AdoNasError as error:
        raise ModelError(f"{path}: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} is no model folder: {path.name} is missing; a model folder holds "
            f"{WEIGHTS}, {SPEC}, {SAMPLER} and {CARD}"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no table; export the model again")
    return value


def _numbers(path: Path, values: dict[str, Any], name: str) -> tuple[float, ...]:
    """Take a list of numbers out of a table; empty where it has none."""
    found = values.pop(name, [])
    if not isinstance(found, list) or any(type(v) not in (int, float) for v in found):
        raise ModelError(f"{path}: {name} is no list of numbers; export the model again")
    return tuple(map(float, found))


def _load_weights(unet: UNet, folder: Path, wanted: str | None) -> str:
    """Load weights, which must be those of a hash where one is wanted; returns theirs."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{folder} has no {WEIGHTS}; export the model again")
    digest = sha256(path)
    if wanted not in (None, digest):
        raise ModelError(f"{path} is not the file its card names (SHA-256 differs); restore it")
    try:
        weights = mx.load(str(path))
        assert isinstance(weights, dict)
        unet.load_weights(list(weights.items()), strict=True)
        mx.eval(unet.parameters())
    except (ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} does not fit {SPEC}: {first}") from None
    return digest
