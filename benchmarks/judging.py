"""Students of several searches judged alike: on fresh noise, and with one latency a network.

What a search has measured itself it has also chosen by, so that luck would count for it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ado_nas.bench import Bench, open_bench
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import generate
from ado_nas.files import read_json, write_json
from ado_nas.measure.cost import cost
from ado_nas.measure.speed import latencies_in_turn
from ado_nas.modelfolder import Model, load_model
from ado_nas.reference import judged_again
from ado_nas.specs import SamplerSpec, TaskSpec, digest
from studies.processes import Channel

YARDSTICK = SamplerSpec("ddim", "karras", 1)


def judged(
    channel: Channel, task: TaskSpec, workspace: Path, folders: list[Path], latencies: Path
) -> dict[str, Any]:
    """Be the process that judges students again.

    Args:
        channel: gets ``judging again``.
        task: what they were trained for.
        workspace: its cache is used.
        folders: of models.
        latencies: a folder that keeps the latency of each network and sampler, for all calls.

    Returns:
        ``reference_gap``, the teacher's likewise, and ``models``: gap, latency_ms and size_mb, or
        None for one that has no finite images.
    """
    bench = open_bench(task, workspace)
    judge, again = judged_again(bench, workspace, channel.progress, "judging the teacher again")
    start, labels = bench.start(task.quality.report_noise_seed), bench.labels()
    rows: list[dict[str, float] | None] = []
    for folder in folders:
        model = load_model(folder)
        about = model.unet, model.sampler.solver, model.levels, start, labels
        images = generate(*about, batch=task.quality.batch)
        gap = judge.gap(images) if math.isfinite(float(images.sum())) else math.inf
        shared = {"latency_ms": _latency(bench, model, latencies)}
        size = {"size_mb": cost(model.unet.spec).size_mb}
        rows.append({"gap": gap, **shared, **size} if gap < math.inf else None)
        channel.progress("judging again", len(rows), len(folders))
    return {"reference_gap": again["gap"], "models": rows}


def _latency(bench: Bench, model: Model, folder: Path) -> float:
    """Milliseconds per image, measured once for all students of this network and sampler.

    Measured beside the teacher's single step, whose time at the first time is the unit: the
    machine of a later hour may be another one in speed.
    """
    kept = folder / f"{digest(model.unet.spec, model.sampler.solver, model.sampler.nfe)}.json"
    found = read_json(kept)
    if found is None:
        limits, batch = bench.task.trajectories, bench.task.latency_batch
        levels = karras_levels(1, limits.sigma_min, limits.sigma_max)
        beside = bench.teacher.unet, YARDSTICK, levels
        own, unit = latencies_in_turn([(model.unet, model.sampler, model.levels), beside], batch)
        first = read_json(folder / "unit.json") or unit
        write_json(folder / "unit.json", first)
        found = first * own / unit
        write_json(kept, found)
    return float(found)
