"""The teacher: an EDM denoiser trained once per cache key, resumable at any checkpoint."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np

from ado_nas.data import Dataset
from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import denoise, edm_weight, forward_noise
from ado_nas.diffusion.schedules import closed_form
from ado_nas.files import building, read_json
from ado_nas.modelfolder import CARD, intact, keep_sampler, save_model
from ado_nas.models.unet import UNet, build_unet
from ado_nas.progress import Progress, silent
from ado_nas.specs import (
    CLOSED_FORMS,
    DataSpec,
    SamplerSpec,
    TeacherSpec,
    digest,
    from_dict,
    steps,
    to_dict,
)
from ado_nas.training import resumable
from ado_nas.training.budget import accounting
from ado_nas.training.curriculum import Curriculum, staged
from ado_nas.training.step import Stepper

SCHEMA = 2  # raise it when training changes, so that old teachers are not taken for new ones
SHIPPED = Path(__file__).parents[2] / "benchmarks" / "assets"


def edm_loss(
    model: UNet,
    x0: mx.array,
    sigma: mx.array,
    noise: mx.array,
    labels: mx.array,
    place: mx.array | None = None,
) -> mx.array:
    """Denoising loss at random noise levels.

    Args:
        model: the network.
        x0: (B, H, W, C), clean images.
        sigma: (B,), noise levels.
        noise: (B, H, W, C), standard normal.
        labels: (B,) int32; ignored by an unconditional network.
        place: (B, 3), of crops; see `UNet`.

    Returns:
        A scalar.

    Source: Karras et al. 2022, eq. 2 and table 1.
    """
    clean = denoise(model, forward_noise(x0, sigma, noise), sigma, labels, place)
    error = mx.square(clean - x0).mean(axis=(1, 2, 3))
    return mx.mean(edm_weight(sigma, model.spec.sigma_data) * error)


def batches(spec: TeacherSpec, dataset: Dataset, start: int) -> Iterator[tuple[mx.array, ...]]:
    """Endless batches, each a function of (seed, iteration), so that a restart repeats nothing.

    Args:
        spec: batch size, noise levels, label dropout, resolutions and seed.
        dataset: its training split is drawn from with replacement.
        start: the first iteration.

    Yields:
        x0, sigma, noise, labels and, of crops, their places, as `edm_loss` takes them.
    """
    train, labels = dataset.train, dataset.train.labels
    classes, course = spec.unet.num_classes, curriculum(spec)
    iteration = start
    while True:
        rng = np.random.default_rng((spec.seed, iteration))
        size = course.size(iteration)
        rows = rng.integers(0, len(train), size)
        spread = np.exp(spec.p_mean + spec.p_std * rng.standard_normal(size))
        (x0,), ratio, place = course.views(iteration, train.take(rows).images)
        sigma = ratio * spec.unet.sigma_data * spread
        noise = rng.standard_normal(x0.shape, dtype=np.float32)
        drop = rng.random(size) < spec.label_dropout
        if classes and labels is not None:
            chosen = np.where(drop, classes, labels[rows])
        else:
            chosen = np.full(size, classes)
        arrays = (x0, sigma.astype(np.float32), noise, chosen.astype(np.int32))
        yield tuple(mx.array(a) for a in (arrays if place is None else (*arrays, place)))
        iteration += 1


def curriculum(spec: TeacherSpec) -> Curriculum:
    """What each iteration of a teacher's training is."""
    return Curriculum(spec.curriculum, spec.unet, spec.iterations, spec.batch, spec.seed)


def teacher_key(spec: TeacherSpec, data_digest: str) -> str:
    """The cache key: everything that can change the weights."""
    return digest("teacher", SCHEMA, data_digest, spec, *staged(spec.curriculum))


def train_teacher(
    spec: TeacherSpec,
    dataset: Dataset,
    cache: Path,
    reference: SamplerSpec,
    sigma_range: tuple[float, float],
    progress: Progress = silent,
) -> Path:
    """Train a teacher, go on with a started one, or return a finished one; see also `shipped`.

    One whose files were damaged is trained again.

    Args:
        spec: the teacher and its training.
        dataset: what it learns.
        cache: folder of all teachers; this one lies under its key.
        reference: the sampler saved with it, also with a finished one that was made for another:
            studies share a teacher, and the last one's counts.
        sigma_range: lowest and highest noise level it is sampled at.
        progress: told each iteration.

    Returns:
        Its model folder; one that comes with the project is copied there.

    Raises:
        Diverged: the loss is not finite.
        OutOfMemory: a step does not fit the memory budget.
    """
    sampler, levels = _sampling(reference, sigma_range, spec.unet.sigma_data)
    with building(cache / teacher_key(spec, dataset.digest)) as folder:
        if not intact(folder) and (known := shipped(spec, dataset)):
            shutil.copytree(known, folder, dirs_exist_ok=True)
        if intact(folder):
            keep_sampler(folder, sampler, levels)
            return folder
        unet = build_unet(spec.unet, spec.seed)
        course = curriculum(spec)
        rates = course.rates(spec.learning_rate, spec.warmup)
        stepper = Stepper(unet, edm_loss, rates, spec.ema_decay)

        def stream(start: int) -> Iterator[tuple[mx.array, ...]]:
            return batches(spec, dataset, start)

        with accounting() as memory:
            seconds = resumable.train(
                stepper, stream, course.iterations, folder, "teacher", progress
            )
        stepper.load_average()
        mx.eval(unet.parameters())
        card = {
            "kind": "teacher",
            "training": to_dict(spec),
            "resolutions": spec.curriculum.sides(spec.unet.resolution),
            "data": {
                "name": dataset.spec.name,
                "digest": dataset.digest,
                "spec": to_dict(dataset.spec),
                "version": dataset.manifest["generator_version"],
            },
            "seconds": round(seconds, 1),
            "memory": memory.facts(),
        }
        save_model(folder, unet, sampler, levels, card)
        (folder / resumable.CHECKPOINT).unlink(missing_ok=True)
        return folder


def _sampling(
    reference: SamplerSpec, sigma_range: tuple[float, float], sigma_data: float
) -> tuple[SamplerSpec, Levels]:
    """How a teacher is sampled: as the reference, with levels that need no trajectories."""
    if reference.schedule not in CLOSED_FORMS:
        reference = dataclasses.replace(reference, schedule="karras")
    count = steps(reference.solver, reference.nfe)
    return reference, closed_form(reference.schedule, count, *sigma_range, sigma_data)


def finished(spec: TeacherSpec, dataset: Dataset, cache: Path) -> Path | None:
    """The folder of a teacher that is there whole, in the project or the cache; else None."""
    folder = cache / teacher_key(spec, dataset.digest)
    return folder if intact(folder) else shipped(spec, dataset)


def shipped(spec: TeacherSpec, dataset: Dataset) -> Path | None:
    """The model folder of a teacher that comes with the project; None where it has none.

    Args:
        spec: the teacher and its training, all of which is alike in one that is found.
        dataset: what it learned; procedural sets may differ in the last bits by machine.
    """
    for path in sorted(SHIPPED.glob(f"*/{CARD}")):
        card = read_json(path)
        if card is None:  # damaged
            continue
        told = card["data"]
        same = told["version"] == dataset.manifest["generator_version"]
        same = same and from_dict(DataSpec, told["spec"]) == dataset.spec
        if same and from_dict(TeacherSpec, card["training"]) == spec:
            return path.parent
    return None
