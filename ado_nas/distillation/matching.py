"""The feature loss: a student's feature maps are drawn to its teacher's, beside any other loss.

The teacher runs on every batch, up to its last map: that is the price, one pass an iteration.
"""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ado_nas.distillation.course import Course
from ado_nas.errors import SpecError
from ado_nas.measure import lock
from ado_nas.models.unet import UNet
from ado_nas.specs import UNetSpec
from ado_nas.training.step import Loss

PIXELS = 8192  # of a map, that an adapter is fitted to at most
_FAINT = 1e-3  # directions with a smaller share of a map's spread are not fitted to
_TINY = 1e-12  # the mean square of a map that is zero everywhere


class Pupil(nn.Module):
    """A student beside the adapters that take its maps to the teacher's channels.

    Only the student is kept after training.

    Args:
        student: trained in place.
        adapters: by way and side of the map, with the teacher's width as output.
    """

    def __init__(self, student: UNet, adapters: dict[str, nn.Linear]) -> None:
        super().__init__()
        self.student = student
        self.adapters = adapters


class Watched:
    """Stands in for a network while a loss runs it; keeps its last pass.

    `inputs` are what the network was called with, `maps` what `UNet.with_maps` gave.
    """

    def __init__(self, unet: UNet) -> None:
        self.unet = unet
        self.inputs: tuple[mx.array, mx.array, mx.array | None] | None = None
        self.maps: dict[str, mx.array] = {}

    @property
    def spec(self) -> UNetSpec:
        """Of the network."""
        return self.unet.spec

    def __call__(self, x: mx.array, c_noise: mx.array, labels: mx.array | None = None) -> mx.array:
        """What the network gives."""
        out, maps = self.unet.with_maps(x, c_noise, labels)
        self.inputs, self.maps = (x, c_noise, labels), maps
        return out

    def pairs(self, teacher: UNet) -> dict[str, tuple[mx.array, mx.array]]:
        """By way and side this network's map and the teacher's of the same inputs.

        Maps that one of them lacks are left out.
        """
        if self.inputs is None:
            return {}
        _, wanted = teacher.with_maps(*self.inputs)
        return {p: (m, mx.stop_gradient(wanted[p])) for p, m in self.maps.items() if p in wanted}


def matched(course: Course, teacher: UNet, weight: float) -> Course:
    """A course in which the student learns its teacher's feature maps as well.

    Args:
        course: whose loss trains the student itself and takes arrays with one row a sample; the
            last pass that it makes through the student is the one that is matched.
        teacher: left as it is; the course's batches are shown to it too.
        weight: of the feature loss beside the course's own.

    Returns:
        The course; the one given where the weight is 0. Its pupil holds the student and adapters.
    """
    if weight == 0:
        return course

    def pupil(student: UNet) -> Pupil:
        return fitted(student, teacher, course.loss, next(course.batches(0)))

    return dataclasses.replace(
        course, loss=feature_loss(course.loss, teacher, weight), pupil=pupil
    )


def feature_loss(base: Loss, teacher: UNet, weight: float) -> Loss:
    """A loss with the mean relative distance of the feature maps added to it.

    Each image's map counts by the mean square of the teacher's, so that all maps and noise levels
    count alike, and so does a batch that is split over streams.

    Args:
        base: called as base(student, *arrays).
        teacher: as `matched` takes it.
        weight: likewise.

    Returns:
        A loss of (pupil, *arrays).

    Source: Romero et al. 2015 (FitNets), eq. 3, at the ends of stages as in Kim et al. 2024
    (BK-SDM).
    """

    def loss(pupil: Pupil, *arrays: mx.array) -> mx.array:
        student = Watched(pupil.student)
        value = base(student, *arrays)
        parts = [
            _relative(pupil.adapters[place](found), goal)
            for place, (found, goal) in student.pairs(teacher).items()
        ]
        return value + weight * sum(parts, mx.array(0.0)) / max(1, len(parts))

    return loss


def fitted(student: UNet, teacher: UNet, base: Loss, arrays: tuple[mx.array, ...]) -> Pupil:
    """A student with adapters that fit its maps to the teacher's as well as linear ones can.

    They are there at equal widths too, for a student may hold the teacher's channels in another
    order; a student that is the teacher gets the identity.

    Args:
        student: with the weights that training begins with.
        teacher: as `matched` takes it.
        base: as `feature_loss` takes it.
        arrays: a batch that the adapters are fitted to.

    Returns:
        What is trained.

    Raises:
        SpecError: the two scale their inputs otherwise, so that they cannot be shown the same.
    """
    for name in ("prediction", "sigma_data"):
        ours, theirs = getattr(student.spec, name), getattr(teacher.spec, name)
        if ours != theirs:
            raise SpecError(
                f"feature_weight: the student's {name} is {ours!r}, the teacher's {theirs!r}; "
                "give the student the teacher's, or feature_weight 0"
            )
    with lock.shared():
        watched = Watched(student)
        base(watched, *arrays)
        pairs = watched.pairs(teacher)
        mx.eval(pairs)
    return Pupil(student, {place: _adapter(*pair) for place, pair in pairs.items()})


def _relative(found: mx.array, goal: mx.array) -> mx.array:
    """Mean over the images of the squared distance over the goal's mean square."""
    error = mx.square(found - goal).mean(axis=(1, 2, 3))
    return (error / (mx.square(goal).mean(axis=(1, 2, 3)) + _TINY)).mean()


def _adapter(found: mx.array, goal: mx.array) -> nn.Linear:
    """The linear layer of least `_relative` distance, by least squares in float64."""
    x, y = np.array(found, np.float64), np.array(goal, np.float64)
    share = (np.square(y).mean(axis=(1, 2, 3), keepdims=True) + _TINY) ** -0.5
    one = np.ones((*x.shape[:3], 1))
    rows = [(share * a).reshape(-1, a.shape[-1]) for a in (np.concatenate([x, one], -1), y)]
    some = np.linspace(0, len(rows[0]) - 1, min(len(rows[0]), PIXELS)).astype(np.intp)
    solved = np.linalg.lstsq(rows[0][some], rows[1][some], _FAINT)[0]
    layer = nn.Linear(x.shape[-1], y.shape[-1])
    layer.weight = mx.array(np.ascontiguousarray(solved[:-1].T), mx.float32)
    layer.bias = mx.array(solved[-1], mx.float32)
    return layer
