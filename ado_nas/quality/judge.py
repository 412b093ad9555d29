"""One judge for every generated image: real features fitted once, each sample scored by them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ado_nas.data import Split
from ado_nas.errors import DataError
from ado_nas.quality import coverage, frechet, intervals, kernel, nearest, sliced
from ado_nas.quality.features import FeatureNet
from ado_nas.quality.intervals import Null, Replicates, Sample
from ado_nas.quality.threads import single_thread
from ado_nas.specs import MIN_JUDGED, QualitySpec

Floats = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

MIN_REAL = 16


@dataclass(frozen=True)
class Quality:
    """How far generated images are from held-out real ones; the objective is `gap`."""

    gap: float  # Frechet distance less its bias, not below 0; real images' variance is 100
    gap_interval: tuple[float, float]  # 95%, over other noise and other real images
    replicates: Replicates  # of the gap, for the interval of a ratio of two
    frechet: float  # as measured
    bias: float  # subtracted from it
    floor: float  # gap that chance alone makes between real images in one case of 20
    sliced: float  # sliced Wasserstein less its bias, not below 0
    sliced_floor: float
    kernel: float  # unbiased, may be below 0
    density: float
    coverage: float
    precision: float
    recall: float
    nearest_ratio: float  # distance to training images, generated over held-out
    samples: int


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores images against one half of the held-out images.

    Everything about the real side is worked out once, when it is first needed.
    """

    features: FeatureNet
    held_out: Split
    train: Split
    spec: QualitySpec

    def __post_init__(self) -> None:
        if len(self.held_out) < MIN_REAL:
            raise DataError(
                f"{len(self.held_out)} held-out images to judge by; at least {MIN_REAL} are "
                "needed in each half: add images or raise held_out"
            )

    def score(self, images: Floats) -> Quality:
        """All measures of a set of generated images.

        Args:
            images: (N, H, W, C); clipped to [-1, 1] first.

        Raises:
            DataError: fewer than 16 images, of another size, or with values that are not finite.
        """
        if len(images) < MIN_JUDGED or not np.isfinite(images).all():
            raise DataError(f"{len(images)} images: give at least {MIN_JUDGED}, all finite")
        clipped = np.clip(images, -1.0, 1.0).astype(np.float32)
        found = self.features(clipped).astype(np.float64)
        with single_thread():
            return self._score(clipped, found)

    def gap(self, images: Floats) -> float:
        """The objective alone, for scoring while a student still learns."""
        found = self._seen(images)
        with single_thread():
            real, fake = self._sample, frechet.fit(found)
            units = real.unit_bias, frechet.unit_bias(found)
            return max(intervals.corrected(real.whole, fake, *units), 0.0)

    def glance(self, images: Floats) -> tuple[float, tuple[float, float]]:
        """The objective with its 95% interval, without the other measures.

        Args:
            images: (N, H, W, C), finite; fewer than are judged in the end will do.
        """
        found = self._seen(images)
        with single_thread():
            real, fake = self._sample, intervals.sample(found)
            gap = intervals.corrected(real.whole, fake.whole, real.unit_bias, fake.unit_bias)
            return max(gap, 0.0), intervals.interval(gap, intervals.replicates(real, fake))

    @property
    def real(self) -> frechet.Gaussian:
        """Of the features of the real images."""
        return self._sample.whole

    def floor(self, samples: int) -> float:
        """The gap that chance makes between real images at this number of generated ones."""
        scale = 1 / len(self.held_out) + 1 / samples
        with single_thread():
            return self._gap_null.floor * scale

    def _seen(self, images: Floats) -> F64:
        clipped = np.clip(images, -1.0, 1.0).astype(np.float32)
        return self.features(clipped).astype(np.float64)

    def _score(self, clipped: Floats, found: F64) -> Quality:
        fake = intervals.sample(found)
        real = self._sample
        raw = frechet.distance(real.whole, fake.whole)
        bias = real.unit_bias / real.whole.count + fake.unit_bias / fake.whole.count
        parts = intervals.replicates(real, fake)
        sliced_null = self._sliced_null(len(found))
        slices = sliced.project(found, self._directions)
        around = coverage.neighbors(self._real, found, self._radii)
        return Quality(
            gap=max(raw - bias, 0.0),
            gap_interval=intervals.interval(raw - bias, parts),
            replicates=parts,
            frechet=raw,
            bias=bias,
            floor=self.floor(len(found)),
            sliced=max(self._slice_distance(slices) - sliced_null.bias, 0.0),
            sliced_floor=sliced_null.floor,
            kernel=kernel.distance(self._real * self._unit, found * self._unit, self._kernel_term),
            density=around.density,
            coverage=around.coverage,
            precision=around.precision,
            recall=around.recall,
            nearest_ratio=nearest.nearest_distance(clipped, self.train.images) / self._nearest,
            samples=len(found),
        )

    def _sliced_null(self, samples: int) -> Null:
        scale = 1 / len(self.held_out) + 1 / samples
        return Null(self._sliced_null_unit.bias * scale, self._sliced_null_unit.floor * scale)

    def _slice_distance(self, slices: F64) -> float:
        return sliced.distance(self._slices, slices, self.features.width)

    @functools.cached_property
    def _real(self) -> F64:
        return self.features(self.held_out.images).astype(np.float64)

    @functools.cached_property
    def _sample(self) -> Sample:
        # In random order, for files often come sorted by class.
        order = np.random.default_rng(self.spec.seed).permutation(len(self._real))
        return intervals.sample(self._real[order])

    @functools.cached_property
    def _gap_null(self) -> Null:
        """Of two samples of 2 each, so that ``1/n + 1/m`` is 1."""
        return intervals.null(self._real, intervals.gap_measure, (2, 2))

    @functools.cached_property
    def _sliced_null_unit(self) -> Null:
        def measure(real: F64, fake: F64) -> float:
            first = sliced.project(real, self._directions)
            second = sliced.project(fake, self._directions)
            return sliced.distance(first, second, self.features.width)

        return intervals.null(self._real, measure, (2, 2))

    @functools.cached_property
    def _directions(self) -> F64:
        return sliced.directions(self.features.width)

    @functools.cached_property
    def _slices(self) -> F64:
        return sliced.project(self._real, self._directions)

    @functools.cached_property
    def _kernel_term(self) -> float:
        return kernel.within(self._real * self._unit)

    @functools.cached_property
    def _unit(self) -> float:
        """Brings real features to a mean square of 1, for which the kernel is meant."""
        return 1.0 / max(float(np.sqrt((self._real**2).mean())), 1e-12)

    @functools.cached_property
    def _radii(self) -> tuple[F64, F64]:
        return coverage.real_radii(self._real)

    @functools.cached_property
    def _nearest(self) -> float:
        found = nearest.nearest_distance(self.held_out.images, self.train.images)
        return max(found, 1e-6)  # identical images everywhere: no ratio to speak of


def retention(reference_gap: float, floor: float, gap: float) -> float:
    """How much of the reference's quality is kept: 1 is all, above 1 is better than the reference.

    Args:
        reference_gap: of the teacher as the reference samples it.
        floor: of the same judge at the same number of samples.
        gap: of the student.
    """
    return (reference_gap + floor) / (gap + floor)


def retention_interval(
    reference_gap: float, reference: Replicates, student: Quality
) -> tuple[float, float]:
    """95% interval of a retention over other noise and other real images.

    Args:
        reference_gap: of the reference.
        reference: its replicates, from the same judge and the same noise.
        student: judged likewise.

    Returns:
        (low, high).
    """
    above, below = (reference_gap, reference), (student.gap, student.replicates)
    return intervals.ratio_interval(above, below, student.floor)
