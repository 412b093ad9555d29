"""The teacher: an EDM denoiser trained once per cache key, resumable at any checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np

from ado_nas.data import Dataset
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.preconditioning import denoise, edm_weight, forward_noise
from ado_nas.files import building
from ado_nas.modelfolder import CARD, save_model
from ado_nas.models.unet import UNet, build_unet
from ado_nas.progress import Progress, silent
from ado_nas.specs import SamplerSpec, TeacherSpec, digest, to_dict
from ado_nas.training import resumable
from ado_nas.training.step import Stepper, schedule

SCHEMA = 2  # raise it when training changes, so that old teachers are not taken for new ones


def edm_loss(
    model: UNet, x0: mx.array, sigma: mx.array, noise: mx.array, labels: mx.array
) -> mx.array:
    """Denoising loss at random noise levels.

    Args:
        model: the network.
        x0: (B, H, W, C), clean images.
        sigma: (B,), noise levels.
        noise: (B, H, W, C), standard normal.
        labels: (B,) int32; ignored by an unconditional network.

    Returns:
        A scalar.

    Source: Karras et al. 2022, eq. 2 and table 1.
    """
    clean = denoise(model, forward_noise(x0, sigma, noise), sigma, labels)
    error = mx.square(clean - x0).mean(axis=(1, 2, 3))
    return mx.mean(edm_weight(sigma, model.spec.sigma_data) * error)


def batches(spec: TeacherSpec, dataset: Dataset, start: int) -> Iterator[tuple[mx.array, ...]]:
    """Endless batches, each a function of (seed, iteration), so that a restart repeats nothing.

    Args:
        spec: batch size, noise levels, label dropout and seed.
        dataset: its training split is drawn from with replacement.
        start: the first iteration.

    Yields:
        x0, sigma, noise and labels as `edm_loss` takes them.
    """
    images, labels = dataset.train.images, dataset.train.labels
    classes = spec.unet.num_classes
    iteration = start
    while True:
        rng = np.random.default_rng((spec.seed, iteration))
        rows = rng.integers(0, len(images), spec.batch)
        spread = np.exp(spec.p_mean + spec.p_std * rng.standard_normal(spec.batch))
        sigma = spec.unet.sigma_data * spread
        noise = rng.standard_normal((spec.batch, *images.shape[1:]), dtype=np.float32)
        drop = rng.random(spec.batch) < spec.label_dropout
        if classes and labels is not None:
            chosen = np.where(drop, classes, labels[rows])
        else:
            chosen = np.full(spec.batch, classes)
        yield (
            mx.array(images[rows]),
            mx.array(sigma.astype(np.float32)),
            mx.array(noise),
            mx.array(chosen.astype(np.int32)),
        )
        iteration += 1


def teacher_key(spec: TeacherSpec, data_digest: str) -> str:
    """The cache key: everything that can change the weights."""
    return digest("teacher", SCHEMA, data_digest, to_dict(spec))


def train_teacher(
    spec: TeacherSpec,
    dataset: Dataset,
    cache: Path,
    reference: SamplerSpec,
    sigma_range: tuple[float, float],
    progress: Progress = silent,
) -> Path:
    """Train a teacher, go on with a started one, or return a finished one.

    Args:
        spec: the teacher and its training.
        dataset: what it learns.
        cache: folder of all teachers; this one lies under its key.
        reference: the sampler saved with it.
        sigma_range: lowest and highest noise level it is sampled at.
        progress: told each iteration.

    Returns:
        Its model folder.

    Raises:
        Diverged: the loss is not finite.
    """
    with building(cache / teacher_key(spec, dataset.digest)) as folder:
        if (folder / CARD).exists():
            return folder
        unet = build_unet(spec.unet, spec.seed)
        rate = schedule(spec.learning_rate, spec.warmup, spec.iterations)
        stepper = Stepper(unet, edm_loss, rate, spec.ema_decay)

        def stream(start: int) -> Iterator[tuple[mx.array, ...]]:
            return batches(spec, dataset, start)

        seconds = resumable.train(stepper, stream, spec.iterations, folder, "teacher", progress)
        stepper.load_average()
        mx.eval(unet.parameters())
        levels = karras_levels(reference.nfe, *sigma_range)
        card = {
            "kind": "teacher",
            "training": to_dict(spec),
            "data": {
                "name": dataset.spec.name,
                "digest": dataset.digest,
                "spec": to_dict(dataset.spec),
            },
            "seconds": round(seconds, 1),
        }
        save_model(folder, unet, reference, levels, card)
        (folder / resumable.CHECKPOINT).unlink(missing_ok=True)
        return folder
