"""Preconditioning, loss and guidance against their formulas in float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.diffusion.preconditioning import (
    denoise,
    denoiser,
    edm_weight,
    forward_noise,
    scalings,
)
from ado_nas.models.unet import build_unet, named_parameters
from ado_nas.specs import UNetSpec

SIGMA = np.array([0.02, 0.5, 3.0, 40.0])


def test_edm_scalings_keep_input_and_target_at_unit_variance() -> None:
    """The two properties that define them: Karras et al. 2022, appendix B.6."""
    data = 0.5
    c = scalings("edm", mx.array(SIGMA.astype(np.float32)), data)
    skip, out, scale = (
        np.array(v).reshape(-1).astype(np.float64) for v in (c.skip, c.out, c.input)
    )
    np.testing.assert_allclose(scale**2 * (data**2 + SIGMA**2), 1, rtol=1e-5)
    target = ((1 - skip) ** 2 * data**2 + skip**2 * SIGMA**2) / out**2
    np.testing.assert_allclose(target, 1, rtol=1e-4)
    weight = np.array(edm_weight(mx.array(SIGMA.astype(np.float32)), data))
    np.testing.assert_allclose(weight * out**2, 1, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_perfect_prediction_gives_back_the_clean_image(prediction: str) -> None:
    rng = np.random.default_rng(0)
    x0, noise = rng.standard_normal((2, 4, 2, 2, 1))
    x = x0 + SIGMA[:, None, None, None] * noise
    # In the variance-preserving frame alpha = 1 / sqrt(1 + sigma^2), and v = alpha eps - s x0.
    alpha = 1 / np.sqrt(1 + SIGMA**2)[:, None, None, None]
    v = alpha * noise - alpha * SIGMA[:, None, None, None] * x0
    c = scalings(prediction, mx.array(SIGMA.astype(np.float32)), 0.5)
    output = noise if prediction == "epsilon" else v
    found = np.array(c.skip) * x + np.array(c.out) * output
    np.testing.assert_allclose(found, x0, atol=1e-4)


def test_forward_noise_adds_noise_of_the_level() -> None:
    x0, noise = mx.ones((4, 2, 2, 1)), mx.random.normal((4, 2, 2, 1), key=mx.random.key(0))
    found = forward_noise(x0, mx.array(SIGMA.astype(np.float32)), noise)
    expected = 1 + SIGMA[:, None, None, None] * np.array(noise)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_guidance_extrapolates_from_no_class_to_class() -> None:
    model = build_unet(UNetSpec(resolution=8, num_classes=3))
    noisy = [(n, v + 0.1 * mx.random.normal(v.shape)) for n, v in named_parameters(model)]
    model.load_weights(noisy)
    x = mx.random.normal((2, 8, 8, 1), key=mx.random.key(1))
    labels, sigma = mx.array([0, 2]), mx.array([1.5])
    with_class = denoise(model, x, sigma, labels)
    without = denoise(model, x, sigma, mx.array([3, 3]))
    assert float(mx.abs(with_class - without).max()) > 1e-4
    guided = denoiser(model, labels, 2.5)(x, sigma)
    np.testing.assert_allclose(guided, without + 2.5 * (with_class - without), atol=1e-5)
    per_sample = denoiser(model, labels, 2.5)(x, mx.array([1.5, 1.5]))
    np.testing.assert_allclose(per_sample, guided, atol=1e-5)
    np.testing.assert_allclose(denoiser(model, labels)(x, sigma), with_class, atol=1e-6)
