"""A U-Net whose finest levels are networks of their own, each for one resolution.

The outermost network is told what the one inside makes of the image averaged down, and adds what
that cannot know. So the coarse is learned at a low resolution, at a low price, and stays learned
when the next finer network joins; and each network inside serves its own resolution alone.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ado_nas.diffusion.preconditioning import denoise, scalings
from ado_nas.models.blocks import Pool, doubled
from ado_nas.models.unet import UNet, unet_of
from ado_nas.specs import UNetSpec


class NestedUNet(UNet):
    """Two networks as one: inside for half the side, outside for what is left.

    Noise of level sigma has sigma / 2 where squares of four pixels are averaged. With D the
    denoiser inside, the whole one is D's image doubled + c_skip (x - its mean doubled) + c_out
    F(c_in x, D's image), of which this network gives what takes the place of F.

    Args:
        spec: with `nested` above 0.

    Source: the nesting of Gu et al. 2024 (Matryoshka diffusion models), section 3.2, with the
    denoised image in the place of features.
    """

    def __init__(self, spec: UNetSpec):
        nn.Module.__init__(self)
        self._spec = spec
        self.inside = unet_of(spec.inside)
        self.outside = UNet(spec.outside)

    def with_maps(
        self,
        x: mx.array,
        c_noise: mx.array,
        labels: mx.array | None = None,
        place: mx.array | None = None,
    ) -> tuple[mx.array, dict[str, mx.array]]:
        """Run the networks; there are no maps that another network would share.

        Args:
            x: (B, H, W, C), scaled noisy images; those of a lower resolution go to its network
                alone.
            c_noise: (B,) or (1,), embedded noise levels.
            labels: (B,) int32 classes, or None.
            place: not for nested networks.

        Returns:
            (B, H, W, C), the raw prediction, and no maps.
        """
        spec = self._spec
        if x.shape[1] < spec.resolution:
            return self.inside(x, c_noise, labels), {}
        sigma = mx.exp(4 * c_noise)
        c = scalings(spec.prediction, sigma, spec.sigma_data)
        low = Pool()(x / c.input)
        found = doubled(denoise(self.inside, low, sigma / 2, labels))
        hint = found / spec.sigma_data
        own = self.outside(mx.concatenate([x, hint], axis=-1), c_noise, labels)
        return own + (found - c.skip * doubled(low)) / c.out, {}
