from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from ado_nas.data import Split
from ado_nas.errors import ConfigError
from ado_nas.quality import damage
from ado_nas.quality.tasks import clusters, moment_noise, nearest

RNG = np.random.default_rng(3)
LABELS = np.repeat(np.arange(10), 40).astype(np.int32)
IMAGES = Split(
    (RNG.gamma(2.0, size=(400, 4, 4, 1)) / 4 - 1 + LABELS[:, None, None, None] / 20).astype(
        np.float32
    ),
    LABELS,
)


def test_moment_noise_has_the_mean_and_covariance_of_its_images() -> None:
    noise = moment_noise(IMAGES.images, 40_000, RNG).reshape(40_000, -1)
    flat = IMAGES.images.reshape(400, -1)
    np.testing.assert_allclose(noise.mean(0), flat.mean(0), atol=0.01)
    np.testing.assert_allclose(np.cov(noise.T), np.cov(flat.T), atol=0.006)


@pytest.mark.parametrize("share", damage.SEVERITIES["gaussian"])
def test_gaussian_damage_keeps_the_variance_at_every_severity(share: float) -> None:
    changed = damage.damaged(IMAGES, "gaussian", share)
    assert changed.var() == pytest.approx(IMAGES.images.var(), rel=0.1)
    correlation = np.corrcoef(changed.ravel(), IMAGES.images.ravel())[0, 1]
    assert correlation**2 == pytest.approx(1 - share, abs=0.1)


def test_blur_equals_scipys_filter() -> None:
    images = IMAGES.images[:5]
    wanted = images.astype(np.float64)
    for axis in (1, 2):
        wanted = gaussian_filter1d(wanted, 1.3, axis=axis, mode="nearest", radius=4)
    np.testing.assert_allclose(damage.blurred(images, 1.3), wanted, atol=1e-5)


def test_dropped_leaves_out_whole_classes() -> None:
    left = damage.damaged(IMAGES, "dropped", 0.35)
    assert len(left) == 260
    kept = {image.tobytes() for image in left}
    by_class = [sum(i.tobytes() in kept for i in IMAGES.images[k == LABELS]) for k in range(10)]
    assert sorted(by_class) == [0, 0, 0, 20, 40, 40, 40, 40, 40, 40]


def test_dropped_leaves_out_the_darkest_where_there_are_no_classes() -> None:
    left = damage.damaged(Split(IMAGES.images), "dropped", 0.5)
    assert left.mean((1, 2, 3)).min() >= np.median(IMAGES.images.mean((1, 2, 3))) - 1e-6


def test_averaged_and_noise_have_the_moments_they_claim() -> None:
    mixed = damage.damaged(IMAGES, "averaged", 0.5)
    assert mixed.mean() == pytest.approx(IMAGES.images.mean(), abs=1e-4)
    added = damage.damaged(IMAGES, "noise", 0.4) - IMAGES.images
    assert added.std() == pytest.approx(0.4, rel=0.05)


def test_unknown_damage_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'blur'"):
        damage.damaged(IMAGES, "blurr", 1.0)


def test_clusters_find_what_lies_apart() -> None:
    centers = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    points = (centers[np.arange(300) % 3] + RNG.standard_normal((300, 2))).astype(np.float32)
    found = min(
        (nearest(points, clusters(points, 3, seed)) for seed in range(5)),
        key=lambda c: sum(points[c == k].var() for k in range(3)),
    )
    for k in range(3):
        assert len(set(found[np.arange(300) % 3 == k])) == 1
