"""From a raw network to a denoiser, for the three predictions a network can be trained for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx

if TYPE_CHECKING:
    from ado_nas.models.unet import UNet

Denoise = Callable[[mx.array, mx.array], mx.array]
"""(x (B, H, W, C), sigma (B,) or (1,)) -> denoised images (B, H, W, C)."""


@dataclass(frozen=True)
class Scalings:
    """D(x) = skip * x + out * F(input * x, noise); (B, 1, 1, 1) each, `noise` is (B,)."""

    skip: mx.array
    out: mx.array
    input: mx.array
    noise: mx.array


def scalings(prediction: str, sigma: mx.array, sigma_data: float) -> Scalings:
    """The four functions of the noise level that turn a prediction into a denoiser.

    Args:
        prediction: edm, epsilon or v.
        sigma: (B,), positive noise levels.
        sigma_data: standard deviation of the data; used by edm alone.

    Returns:
        The scalings.

    Source: Karras et al. 2022, table 1; Salimans and Ho 2022, section 4, for v, in sigma space.
    """
    s = sigma[:, None, None, None]
    one = mx.ones_like(s)
    noise = mx.log(sigma) / 4
    if prediction == "epsilon":
        return Scalings(one, -s, mx.rsqrt(s * s + 1), noise)
    if prediction == "v":
        root = mx.rsqrt(s * s + 1)
        return Scalings(root * root, -s * root, root, noise)
    root = mx.rsqrt(s * s + sigma_data**2)
    return Scalings(sigma_data**2 * root * root, s * sigma_data * root, root, noise)


def denoise(
    model: UNet,
    x: mx.array,
    sigma: mx.array,
    labels: mx.array | None = None,
    place: mx.array | None = None,
) -> mx.array:
    """The model's estimate of the clean images.

    Args:
        model: the network.
        x: (B, H, W, C), noisy images.
        sigma: (B,) or (1,), their noise levels.
        labels: (B,) int32, or None.
        place: (B, 3), of crops; see `UNet`.

    Returns:
        (B, H, W, C).
    """
    c = scalings(model.spec.prediction, sigma, model.spec.sigma_data)
    if place is None:
        return c.skip * x + c.out * model(c.input * x, c.noise, labels)
    return c.skip * x + c.out * model(c.input * x, c.noise, labels, place)


def denoiser(model: UNet, labels: mx.array | None = None, guidance: float = 1.0) -> Denoise:
    """A model bound to labels and guidance.

    Args:
        model: the network.
        labels: (B,) int32 classes, or None.
        guidance: weight w of classifier-free guidance, D_none + w (D_class - D_none); 1 is off.

    Returns:
        A function of (x, sigma).

    Source: Ho and Salimans 2021, eq. 6, with w = 1 + their weight.
    """
    if guidance == 1.0 or labels is None or not model.spec.num_classes:
        return lambda x, sigma: denoise(model, x, sigma, labels)
    none = mx.full(labels.shape, model.spec.num_classes, dtype=mx.int32)
    both = mx.concatenate([labels, none])

    def guided(x: mx.array, sigma: mx.array) -> mx.array:
        twice = mx.concatenate([sigma, sigma]) if sigma.size > 1 else sigma
        d = denoise(model, mx.concatenate([x, x]), twice, both)
        with_class, without = d[: x.shape[0]], d[x.shape[0] :]
        return without + guidance * (with_class - without)

    return guided


def forward_noise(x0: mx.array, sigma: mx.array, noise: mx.array) -> mx.array:
    """Forward diffusion in one jump.

    Args:
        x0: (B, H, W, C), clean images.
        sigma: (B,), noise levels.
        noise: (B, H, W, C), standard normal.

    Returns:
        (B, H, W, C), x0 + sigma * noise.
    """
    return x0 + sigma[:, None, None, None] * noise


def edm_weight(sigma: mx.array, sigma_data: float) -> mx.array:
    """Loss weight that makes every noise level count alike at initialization.

    Args:
        sigma: (B,).
        sigma_data: standard deviation of the data.

    Returns:
        (B,), (sigma^2 + sigma_data^2) / (sigma * sigma_data)^2.

    Source: Karras et al. 2022, table 1, lambda(sigma).
    """
    return (sigma * sigma + sigma_data**2) / (sigma * sigma_data) ** 2
