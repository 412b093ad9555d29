"""The supernet: the teacher's network trained so that its leading channels work by themselves."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.distillation.student import landing_loss
from ado_nas.distillation.trajectories import Bank
from ado_nas.files import building, read_json, write_json
from ado_nas.modelfolder import CARD, Model, intact, keep_sampler, save_model
from ado_nas.models.inherit import inherit
from ado_nas.models.slices import Slice
from ado_nas.models.tree import named_arrays
from ado_nas.models.unet import UNet, build_unet
from ado_nas.progress import Progress, silent
from ado_nas.specs import SupernetSpec, UNetSpec, digest, to_dict
from ado_nas.training import resumable
from ado_nas.training.budget import accounting
from ado_nas.training.curriculum import Curriculum, staged
from ado_nas.training.step import student_stepper
from ado_nas.widths import drawn, narrowest

SCHEMA = 1


class Sandwich:
    """The loss of an iteration: the widest network, the narrowest and random ones between.

    Args:
        wide: spec of the wide network.
        spec: how narrow, and how many random ones.

    Source: Yu and Huang 2019 (Universally slimmable networks), section 3.2; the targets of all
    are the teacher's trajectories, which are better than the widest network's output.
    """

    def __init__(self, wide: UNetSpec, spec: SupernetSpec) -> None:
        self._wide = wide
        self._spec = spec
        self._slice = functools.lru_cache(maxsize=512)(functools.partial(Slice, wide))
        self.slices: Sequence[Slice] = ()

    def draw(self, rng: np.random.Generator) -> None:
        """Choose the networks of the next iteration."""
        least, count = self._spec.least, self._spec.drawn
        between = [drawn(self._wide, least, rng) for _ in range(count)]
        self.slices = [self._slice(s) for s in (narrowest(self._wide, least), *between)]

    def __call__(self, model: UNet, *arrays: mx.array) -> mx.array:
        """Mean loss of the networks, whose gradients add up in the wide one.

        Args:
            model: the wide network.
            arrays: as `landing_loss` takes them.
        """
        wide = dict(named_arrays(model.trainable_parameters()))
        total = landing_loss(model, *arrays)
        for one in self.slices:
            total = total + landing_loss(one.network(wide), *arrays)
        return total / (1 + len(self.slices))


def supernet_key(spec: SupernetSpec, teacher_digest: str, bank_key: str) -> str:
    """The cache key: everything that can change the weights."""
    return digest("supernet", SCHEMA, teacher_digest, bank_key, spec, *staged(spec.curriculum))


def train_supernet(
    spec: SupernetSpec, teacher: Model, bank: Bank, cache: Path, progress: Progress = silent
) -> Path:
    """Train a supernet, go on with a started one, or return a finished one.

    Its channels are the teacher's, the most important first. One whose files were damaged is
    trained again.

    Args:
        spec: how narrow it goes, and its training.
        teacher: gives the architecture and the first weights.
        bank: the teacher's trajectories.
        cache: folder of all supernets; this one lies under its key.
        progress: told each iteration.

    Returns:
        Its model folder.

    Raises:
        Diverged: the loss is not finite.
        OutOfMemory: a step does not fit the memory budget.
    """
    with building(cache / supernet_key(spec, teacher.card["weights_sha256"], bank.key)) as folder:
        if intact(folder):
            keep_sampler(folder, teacher.sampler, teacher.levels)
            _up_to_date(folder, _origin(teacher, folder))
            return folder
        unet = build_unet(spec.curriculum.told(teacher.unet.spec), spec.seed)
        spec.curriculum.check(unet.spec)
        course = curriculum(spec, unet.spec)
        inherit(unet, teacher.unet, "ranked")
        sandwich = Sandwich(unet.spec, spec)
        stepper = student_stepper(unet, sandwich, spec, course.rates)

        def stream(start: int) -> Iterator[tuple[mx.array, ...]]:
            return batches(spec, bank, sandwich, course, start)

        with accounting() as memory:
            seconds = resumable.train(
                stepper, stream, course.iterations, folder, "supernet", progress
            )
        stepper.load_average()
        mx.eval(unet.parameters())
        card = {
            "kind": "supernet",
            "training": to_dict(spec),
            "resolutions": spec.curriculum.sides(unet.spec.resolution),
            "trajectories": bank.key,
            "seconds": round(seconds, 1),
            **_origin(teacher, folder),
            "memory": memory.facts(),
        }
        save_model(folder, unet, teacher.sampler, teacher.levels, card)
        (folder / resumable.CHECKPOINT).unlink(missing_ok=True)
        return folder


def _origin(teacher: Model, folder: Path) -> dict[str, Any]:
    """What a supernet's card says of its teacher: its data, its weights, and where it lies."""
    place = ""
    if teacher.folder:
        place, cache = str(teacher.folder.absolute()), folder.parents[1].absolute()
        if teacher.folder.absolute().is_relative_to(cache):  # they are moved together
            place = os.path.relpath(place, folder)
    return {
        "data": teacher.card.get("data", {}),
        "teacher": teacher.card["weights_sha256"],
        "teacher_folder": place,
    }


def _up_to_date(folder: Path, origin: dict[str, Any]) -> None:
    """Complete a card of before data were named, or of a teacher that was moved."""
    card = read_json(folder / CARD)
    if any(card.get(name) != value for name, value in origin.items()):
        write_json(folder / CARD, {**card, **origin})


def batches(
    spec: SupernetSpec, bank: Bank, sandwich: Sandwich, course: Curriculum, start: int
) -> Iterator[tuple[mx.array, ...]]:
    """Endless batches of states at any level, to be taken to where their trajectories end.

    One target for each state serves students of every number of steps: trained on the jumps of
    some numbers of steps instead, which disagree at one level, students came out behind.

    Args:
        spec: batch size and seed.
        bank: of trajectories.
        sandwich: draws its networks for each batch.
        course: the resolution of each iteration.
        start: the first iteration.

    Yields:
        Arrays as `landing_loss` takes them, functions of seed and iteration.
    """
    levels, count = bank.states.shape[0] - 1, bank.states.shape[1]
    labels = np.zeros(count, np.int32) if bank.labels is None else bank.labels
    iteration = start
    while True:
        rng = np.random.default_rng((spec.seed, iteration))
        sandwich.draw(rng)
        size = course.size(iteration)
        begin, rows = rng.integers(0, levels, size), rng.integers(0, count, size)
        sigma = bank.levels[begin].astype(np.float32)
        whole = bank.states[begin, rows], sigma, bank.states[-1, rows], labels[rows]
        yield tuple(mx.array(a) for a in course.seen(iteration, *whole))
        iteration += 1


def curriculum(spec: SupernetSpec, unet: UNetSpec) -> Curriculum:
    """What each iteration of a supernet's training is."""
    return Curriculum(spec.curriculum, unet, spec.iterations, spec.batch, spec.seed)
