"""Forward and reverse diffusion of one model, in one class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.preconditioning import forward_noise
from ado_nas.diffusion.sampling import sample_batch
from ado_nas.errors import ConfigError
from ado_nas.modelfolder import Model, load_model
from ado_nas.models.unet import build_unet
from ado_nas.specs import SamplerSpec, TrajectorySpec, UNetSpec, from_dict


class MLXDiffusionEngine:
    """Forward and reverse diffusion of one model."""

    def __init__(self, model_config: Model | UNetSpec | dict[str, Any] | str | Path):
        """Load or build the model.

        Args:
            model_config: a model, its folder, or the spec of a fresh one, also as plain values.

        Raises:
            ModelError: the folder holds no model.
            SpecError: the spec cannot be.
        """
        if isinstance(model_config, dict):
            model_config = from_dict(UNetSpec, model_config)
        if isinstance(model_config, UNetSpec):
            limits = TrajectorySpec()
            sampler = SamplerSpec()
            levels = karras_levels(sampler.nfe, limits.sigma_min, limits.sigma_max)
            model_config = Model(build_unet(model_config), sampler, levels, {})
        elif not isinstance(model_config, Model):
            model_config = load_model(Path(model_config))
        self.model = model_config

    def forward_diffusion(self, x: mx.array, t: mx.array, seed: int = 0) -> mx.array:
        """Add noise in one jump.

        Args:
            x: (B, H, W, C), clean images in [-1, 1].
            t: (B,), noise levels as standard deviations.
            seed: of the noise.

        Returns:
            (B, H, W, C), x + t * noise.

        Source: Karras et al. 2022, eq. 3 with s = 1.
        """
        noise = mx.random.normal(x.shape, key=mx.random.key(seed))
        return forward_noise(x, t, noise)

    def reverse_diffusion(
        self, x: mx.array, t: float | None = None, labels: mx.array | None = None
    ) -> mx.array:
        """Remove the noise by the model's own sampler.

        Args:
            x: (B, H, W, C), images with noise of level t.
            t: the level; the sampler's first where left out. Sampling takes up the sampler's
                levels below it.
            labels: (B,) int32 classes, or None.

        Returns:
            (B, H, W, C), clean images, evaluated.

        Raises:
            ConfigError: the level is not above 0.
        """
        levels = self.model.levels
        begin = float(levels[0]) if t is None else float(t)
        if not begin > 0:
            raise ConfigError(f"t {begin}: give a noise level above 0")
        rest = np.concatenate([[begin], levels[levels < begin]])
        sampler = self.model.sampler
        start = x / begin  # the samplers scale unit noise themselves
        return sample_batch(self.model.unet, sampler.solver, rest, start, labels, sampler.guidance)
