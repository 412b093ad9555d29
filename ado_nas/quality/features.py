"""A small network trained once on the training split, whose features judge every image after."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import numpy.typing as npt

from ado_nas.data import Dataset
from ado_nas.errors import DataError, ModelError
from ado_nas.files import replacing, write_json
from ado_nas.progress import Progress, silent
from ado_nas.quality.tasks import Target, moment_noise, targets
from ado_nas.specs import QualitySpec

Floats = npt.NDArray[np.float32]
Weights = dict[str, mx.array]

TRACE = (
    100.0  # of the features' covariance on the training split: a gap of 1 is 1% of its variance
)
STAGES = (8, 16, 32)  # channels by stage, the last one repeated
SCHEMA = 2  # raise it when training changes
_BATCH, _NOISE, _CHUNK = 64, 32, 256


@dataclass(frozen=True, eq=False)
class FeatureNet:
    """Maps images to features whose total variance on the training split is `TRACE`.

    Features are the means of the first two stages, which see texture, beside the layer before the
    heads, which sees content; each of the three blocks carries the same variance.
    """

    weights: Weights
    scale: Floats  # (D,) multiplies the raw features
    task: str  # what it was trained to tell
    facts: dict[str, Any]  # accuracy by task, resolution, channels, data digest

    def __call__(self, images: Floats) -> Floats:
        """Features of images.

        Args:
            images: (N, H, W, C) in [-1, 1].

        Returns:
            (N, D) float32.

        Raises:
            DataError: the images are of another size than the network was trained on.
        """
        wanted = (self.facts["resolution"],) * 2 + (self.facts["channels"],)
        if images.shape[1:] != wanted:
            raise DataError(f"images of {images.shape[1:]} cannot be judged; give {wanted}")
        return _raw(self.weights, images) * self.scale

    def lazily(self, x: mx.array) -> mx.array:
        """Features of images that are arrays of MLX, to be learned by: (N, H, W, C) -> (N, D)."""
        return _joined(self.weights, x) * mx.array(self.scale)

    @property
    def width(self) -> int:
        """Number of features D."""
        return len(self.scale)

    @functools.cached_property
    def hash(self) -> str:
        """Twelve hex digits over weights and scale."""
        total = hashlib.sha256(self.scale.tobytes())
        for name in sorted(self.weights):
            total.update(name.encode() + np.array(self.weights[name]).tobytes())
        return total.hexdigest()[:12]


def train_features(dataset: Dataset, spec: QualitySpec, progress: Progress = silent) -> FeatureNet:
    """Train the network on the training split: class labels where there are some, else clusters.

    A second head tells real images from Gaussian noise of their mean and covariance, without which
    features see little of what is wrong with images that have the right second moments.

    Args:
        dataset: only its training split is looked at, but for the accuracies reported.
        spec: iterations, width of all features together and seed.
        progress: told of the iterations.

    Returns:
        The same network for equal arguments on one machine.

    Raises:
        DataError: the width is too small.
    """
    if spec.feature_width < 8 + sum(STAGES[:2]):
        raise DataError(f"feature_width {spec.feature_width}: give at least 32")
    images = dataset.train.images
    target = targets(dataset.train, spec.seed)
    narrow = spec.feature_width - sum(STAGES[:2])
    rng = np.random.default_rng(spec.seed)
    weights = _initial(images.shape[1], images.shape[-1], narrow, target.classes, rng)
    for done, fitted in enumerate(_fit(weights, images, target, spec.feature_iterations, rng), 1):
        weights = fitted
        if done % 20 == 0 or done == spec.feature_iterations:
            progress("features", done, spec.feature_iterations)
    facts = {
        "resolution": images.shape[1],
        "channels": images.shape[-1],
        "accuracy": _accuracy(weights, dataset, target),
        "data": dataset.digest,
    }
    task = f"{target.name}, and real images from Gaussian noise of their mean and covariance"
    return FeatureNet(weights, _scale(_raw(weights, images[:4096]), narrow), task, facts)


def save(net: FeatureNet, folder: Path) -> None:
    """Write ``features.safetensors`` and ``features.json``, each whole or not at all."""
    with replacing(folder / "features.safetensors") as partial:
        mx.save_safetensors(str(partial), {**net.weights, "scale": mx.array(net.scale)})
    card = {"schema": SCHEMA, "task": net.task, "facts": net.facts, "hash": net.hash}
    write_json(folder / "features.json", card)


def load(folder: Path) -> FeatureNet:
    """Read what `save` wrote.

    Raises:
        ModelError: a file is missing or does not hold what its hash says.
    """
    try:
        card = json.loads((folder / "features.json").read_text())
        arrays: Any = mx.load(str(folder / "features.safetensors"), format="safetensors")
        scale = np.array(arrays.pop("scale"))
        net = FeatureNet(arrays, scale, card["task"], card["facts"])
        intact = net.hash == card["hash"] and card["schema"] == SCHEMA
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{folder} holds no feature network ({error}); delete it") from error
    if not intact:
        raise ModelError(f"{folder}: the feature network differs from its hash; delete it")
    return net


def _initial(
    resolution: int, channels: int, narrow: int, classes: int, rng: np.random.Generator
) -> Weights:
    weights: Weights = {}
    side, width, stage = resolution, channels, 0
    while True:
        wider = STAGES[min(stage, len(STAGES) - 1)]
        weights[f"stage{stage}.weight"] = _normal(rng, (wider, 3, 3, width), 9 * width)
        weights[f"stage{stage}.bias"] = mx.zeros(wider)
        width, stage = wider, stage + 1
        if side < 8 and stage > 1:
            break
        side = side // 2
    flat = side * side * width
    for name, shape in (("content", narrow), ("label", classes), ("real", 2)):
        inputs = flat if name == "content" else narrow
        weights[f"{name}.weight"] = _normal(rng, (inputs, shape), inputs)
        weights[f"{name}.bias"] = mx.zeros(shape)
    return weights


def _normal(rng: np.random.Generator, shape: tuple[int, ...], inputs: int) -> mx.array:
    return mx.array((rng.standard_normal(shape) * np.sqrt(2 / inputs)).astype(np.float32))


def _forward(weights: Weights, x: mx.array) -> tuple[list[mx.array], mx.array]:
    """Outputs of the stages, and the content features (B, narrow)."""
    stages: list[mx.array] = []
    while (name := f"stage{len(stages)}") + ".weight" in weights:
        x = _half(x) if stages else x
        convolved = mx.conv2d(x, weights[f"{name}.weight"], padding=1)
        x = mx.maximum(convolved + weights[f"{name}.bias"], 0)
        stages.append(x)
    flat = x.reshape(x.shape[0], -1)
    return stages, mx.maximum(_dense(weights, "content", flat), 0)


def _half(x: mx.array) -> mx.array:
    b, h, w, c = x.shape
    if h < 2:
        return x
    even = x[:, : h // 2 * 2, : w // 2 * 2]
    return even.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def _dense(weights: Weights, name: str, x: mx.array) -> mx.array:
    return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _fit(
    weights: Weights, images: Floats, target: Target, iterations: int, rng: np.random.Generator
) -> Iterator[Weights]:
    noise = moment_noise(images, 1024, rng)
    optimizer = optim.AdamW(optim.cosine_decay(2e-3, max(iterations, 1)), weight_decay=0.01)
    step = mx.value_and_grad(_loss)
    for _ in range(iterations):
        rows = rng.integers(0, len(images), _BATCH)
        fakes = noise[rng.integers(0, len(noise), _NOISE)]
        batch = mx.array(np.concatenate([images[rows], fakes]))
        _, gradients = step(weights, batch, mx.array(target.labels[rows]))
        weights = optimizer.apply_gradients(gradients, weights)
        mx.eval(weights, optimizer.state)
        yield weights


def _loss(weights: Weights, batch: mx.array, labels: mx.array) -> mx.array:
    _, content = _forward(weights, batch)
    known = nn.losses.cross_entropy(
        _dense(weights, "label", content[:_BATCH]), labels, label_smoothing=0.1, reduction="mean"
    )
    is_noise = (mx.arange(_NOISE * 2) >= _NOISE).astype(mx.int32)
    balanced = content[_BATCH - _NOISE :]
    real = nn.losses.cross_entropy(_dense(weights, "real", balanced), is_noise, reduction="mean")
    return known + real


def _raw(weights: Weights, images: Floats) -> Floats:
    blocks = []
    for start in range(0, len(images), _CHUNK):
        blocks.append(np.array(_joined(weights, mx.array(images[start : start + _CHUNK]))))
    return np.concatenate(blocks)


def _joined(weights: Weights, x: mx.array) -> mx.array:
    stages, content = _forward(weights, x)
    means = [stage.mean(axis=(1, 2)) for stage in stages[:2]]
    return mx.concatenate([*means, content], axis=1)


def _scale(raw: Floats, narrow: int) -> Floats:
    """Factors that give each block a third of `TRACE`; a block without variance stays as it is."""
    sizes = [*STAGES[:2], narrow]
    variances = np.split(raw.astype(np.float64).var(0), np.cumsum(sizes)[:-1])
    factors = [np.sqrt(TRACE / 3 / v.sum()) if v.sum() > 1e-12 else 1.0 for v in variances]
    return np.repeat(factors, sizes).astype(np.float32)


def _accuracy(weights: Weights, dataset: Dataset, target: Target) -> float:
    """Share of held-out images whose label is told rightly; of training images for clusters."""
    held = dataset.held_out.take(np.arange(min(len(dataset.held_out), 1024)))
    judged, labels = held.images, held.labels
    if labels is None or len(held) == 0:
        judged, labels = dataset.train.images[:1024], target.labels[:1024]
    _, content = _forward(weights, mx.array(judged))
    told = np.array(mx.argmax(_dense(weights, "label", content), axis=1))
    return float((told == labels).mean())
