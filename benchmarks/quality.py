"""The test of the quality measures: a ladder of known damage on digits and shapes.

The teacher's own draws from different noise are the yardstick: a damage's separation is its
distance from their mean in their standard deviations. The teachers are those of the presets.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.diffusion.sampling import generate
from ado_nas.errors import ConfigError
from ado_nas.progress import Progress
from ado_nas.quality.ladder import Ladder, as_rows, ladder
from ado_nas.specs import SamplerSpec

PRESETS = ("digits", "shapes16")
DRAWS = 5
DRAW_NFE = 20  # the reference's gap is reached well before its 50
FEW_STEPS = (1, 2, 3, 5)


def run(*, seed: int, row: int | None, workspace: Path, progress: Progress) -> dict[str, Any]:
    """Climb the ladder on each set.

    Args:
        seed: of the teacher's draws.
        row: 0 digits, 1 shapes16, None both.
        workspace: teachers and feature networks are kept in its cache.
        progress: told of each part.

    Returns:
        rows: data, damage, severity, metric, value, separation; per set whether the objective
        orders every damage and how far Gaussian pixels lie from the teacher (`sets`); `objective`.

    Raises:
        ConfigError: no such row.
    """
    if row is not None and not 0 <= row < len(PRESETS):
        raise ConfigError(f"row {row}: give 0 to {len(PRESETS) - 1}")
    chosen = PRESETS if row is None else PRESETS[row : row + 1]
    found = {name: climb(name, seed, workspace, progress) for name in chosen}
    return {
        "objective": next(iter(found.values())).objective,
        "rows": [r for result in found.values() for r in as_rows(result)],
        "sets": [
            {
                "data": name,
                "ordered": result.ordered,
                "gaussian_separation": result.separation,
                "best": result.best,
                "holds": result.holds,
            }
            for name, result in found.items()
        ],
    }


def climb(preset: str, seed: int, workspace: Path, progress: Progress) -> Ladder:
    """The ladder of one preset's data, features and teacher.

    Args:
        preset: its name.
        seed: of the first of the teacher's draws.
        workspace: its cache is used.
        progress: told of each part.

    Returns:
        Every metric at every severity of every damage.
    """
    from ado_nas.bench import open_bench
    from ado_nas.reference import sampler_levels
    from studies.config import resolve

    task = resolve(preset).task
    bench = open_bench(task, workspace, progress)

    def drawn(sampler: SamplerSpec, noise_seed: int) -> np.ndarray:
        levels = sampler_levels(bench, sampler)
        start, labels = bench.start(noise_seed), bench.labels()
        stage = f"{preset}: {sampler.solver}, {sampler.nfe} NFE"
        return generate(
            bench.teacher.unet,
            sampler.solver,
            levels,
            start,
            labels,
            sampler.guidance,
            progress=progress,
            stage=stage,
        )

    good = dataclasses.replace(task.reference, nfe=DRAW_NFE)
    draws = [drawn(good, seed + 5000 + i) for i in range(DRAWS)]
    few = {
        nfe: drawn(dataclasses.replace(good, solver="ddim", nfe=nfe), seed + 6000)
        for nfe in FEW_STEPS
    }
    pool = bench.dataset.held_out.halves()[1]
    return ladder(preset, bench.judge, pool, draws, few, progress)
