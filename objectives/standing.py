"""How good a student is that still learns: a small gap, cheap enough to be asked for at rungs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ado_nas.bench import Bench
from ado_nas.diffusion.levels import Levels
from ado_nas.measure import lock
from ado_nas.models.unet import UNet
from ado_nas.quality.judge import retention
from ado_nas.reference import pictured
from ado_nas.specs import SamplerSpec

IMAGES = 256  # of the judged ones, the first


def standing(
    bench: Bench, reference: Mapping[str, Any], unet: UNet, sampler: SamplerSpec, levels: Levels
) -> dict[str, float]:
    """The quality of a student as it stands, on the noise that it will be judged by.

    The gap is free of the bias of few images, so the floor is the one of the final judgment.

    Args:
        bench: noise, labels and judge.
        reference: the figures of the teacher.
        unet: the student's network.
        sampler: how it is sampled.
        levels: (S + 1,), falling, the last 0.

    Returns:
        ``gap``, ``retention`` and ``retention_high``, the upper end of its 95% interval.

    Raises:
        Diverged: its images are not finite.
    """
    count = min(IMAGES, bench.task.quality.samples)
    with lock.shared():
        images = pictured(bench, unet, sampler, levels, count=count)
    gap, (low, _) = bench.judge.glance(images)
    above, floor = reference["gap"], reference["floor"]
    return {
        "gap": gap,
        "retention": retention(above, floor, gap),
        "retention_high": retention(above, floor, low),
    }
