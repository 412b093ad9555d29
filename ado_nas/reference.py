"""What candidates are compared with: the teacher as the reference and at its few-step best."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.bench import Bench
from ado_nas.data.pyramid import averaged
from ado_nas.device import environment, timed_on
from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.sampling import generate, sample_batch
from ado_nas.diffusion.schedules import named_levels
from ado_nas.errors import Diverged, NegativeVerdict
from ado_nas.files import building, read_json, write_json
from ado_nas.images import save_grid
from ado_nas.measure import lock
from ado_nas.measure.cost import cost
from ado_nas.measure.latency import Beside, beside
from ado_nas.measure.speed import Yardstick, latency, peak_memory, sampling_call
from ado_nas.modelfolder import Model
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress
from ado_nas.quality.figures import compared, figures, gaussian
from ado_nas.quality.judge import Judge
from ado_nas.runtime import all_cores
from ado_nas.specs import SamplerSpec, SupernetSpec, digest, steps, to_dict
from ado_nas.training.budget import in_parts

SCHEMA = 3  # raise it when these figures change
TIMED = 20  # batches


def sampler_levels(bench: Bench, sampler: SamplerSpec) -> Levels:
    """The noise levels of a sampler over the teacher's range.

    Closed forms are exact; dp comes from the trajectories.
    """
    spec, bank = bench.task.trajectories, bench.bank
    return named_levels(
        sampler.schedule,
        steps(sampler.solver, sampler.nfe),
        spec.sigma_min,
        spec.sigma_max,
        bench.teacher.unet.spec.sigma_data,
        bank.costs,
        bank.levels,
    )


def yardstick(bench: Bench, reference: Mapping[str, Any]) -> Yardstick | None:
    """One step of the teacher over a batch, which every latency is timed in turns with.

    Args:
        bench: of the teacher.
        reference: its facts; where an older version measured them there is no yardstick.
    """
    ms = reference.get("step_ms")
    return None if ms is None else Yardstick(_step(bench), float(ms))


def _step(bench: Bench) -> Callable[[], mx.array]:
    levels = np.array([bench.task.trajectories.sigma_max, 0.0])
    return sampling_call(bench.teacher.unet, "ddim", levels, 1.0, bench.task.latency_batch)


def timed_generate(
    model: Model, sampler: SamplerSpec, levels: Levels, bench: Bench, seed: int, progress: Progress
) -> tuple[np.ndarray, Beside]:
    """Images and latency in one go: the first batches are timed, each alone on the device.

    Args:
        model: the network.
        sampler: solver and guidance.
        levels: (T + 1,), falling, the last 0.
        bench: noise, labels and batches.
        seed: of the noise.
        progress: told after each batch.

    Returns:
        (N, H, W, C) images, and the times of `TIMED` batches of the latency batch beside the
        yardstick's.
    """
    size = bench.task.latency_batch
    start, labels = bench.start(seed), bench.labels()
    step = _step(bench)
    parts, spans, others = [], [], []
    name = f"teacher, {sampler.solver} {sampler.schedule} {sampler.nfe} NFE"
    timed = min((TIMED + 1) * size, len(start) // size * size)
    for a in range(0, timed, size):
        x = mx.array(start[a : a + size])
        chosen = None if labels is None else mx.array(labels[a : a + size])
        mx.eval(x)
        with lock.exclusive(), all_cores():
            mx.eval(step())  # the first after other work takes longer
            begin = time.perf_counter()
            mx.eval(step())
            between = time.perf_counter()
            images = sample_batch(model.unet, sampler.solver, levels, x, chosen, sampler.guidance)
            spans.append((time.perf_counter() - between) * 1e3)
            others.append((between - begin) * 1e3)
        parts.append(np.array(images))
        progress(name, a + size, len(start))
    if timed < len(start):
        parts.append(
            generate(
                model.unet,
                sampler.solver,
                levels,
                start[timed:],
                None if labels is None else labels[timed:],
                sampler.guidance,
                bench.task.quality.batch,
                lambda stage, done, total, note="": progress(stage, timed + done, len(start)),
                name,
            )
        )
    # The first warms up.
    return np.concatenate(parts), beside(spans[1:] or spans, others[1:] or others)


def measure_reference(bench: Bench, workspace: Path, progress: Progress) -> dict[str, Any]:
    """The teacher's figures, measured once per cache key.

    Args:
        bench: what to measure with.
        workspace: the figures are kept in its cache.
        progress: told after each batch.

    Returns:
        The facts `EvaluationModule.prepare` promises.
    """
    around = timed_on()
    # Of no matter to a teacher.
    task = dataclasses.replace(bench.task, supernet=SupernetSpec(), inherit=True)
    key = digest("reference", SCHEMA, bench.digests, task, around)
    with building(workspace / "cache" / "references" / key) as folder:
        facts = read_json(folder / "facts.json")
        if facts is None:
            facts = _facts(bench, folder, progress)
            write_json(folder / "facts.json", facts)
    assert isinstance(facts, dict)
    # Where they are now: the workspace may have been moved since.
    places = {"samples": folder / "samples.png", "teacher": bench.teacher.folder or ""}
    facts["reference"] |= {name: str(place) for name, place in places.items()}
    return facts


def reference_qualities(
    bench: Bench, workspace: Path, facts: dict[str, Any], count: int, progress: Progress
) -> list[dict[str, Any]]:
    """The reference judged on several noise sets, each once per cache key.

    Args:
        bench: what to judge with.
        workspace: the figures are kept in its cache.
        facts: from `measure_reference`; the first noise set is theirs.
        count: of noise sets, K; set k has the seed `noise_seed` + k.
        progress: told after each batch.

    Returns:
        K entries with gap, sliced and replicates.
    """
    found = [facts["reference"]]
    for k in range(1, count):
        name, seed = f"reference, noise {k + 1} of {count}", bench.task.quality.noise_seed + k
        found.append(_reference_quality(bench, bench.judge, seed, workspace, progress, name))
    return found


def drawn(
    bench: Bench,
    unet: UNet,
    sampler: SamplerSpec,
    levels: Levels,
    seed: int,
    progress: Progress,
    name: str,
) -> np.ndarray:
    """Images of a network, as many as the bench judges by.

    Args:
        bench: noise, labels and batches.
        unet: the network.
        sampler: solver and guidance.
        levels: (T + 1,), falling, the last 0.
        seed: of the noise.
        progress: told after each batch.
        name: what it is told.

    Returns:
        (N, H, W, C).
    """
    return generate(
        unet,
        sampler.solver,
        levels,
        bench.start(seed),
        bench.labels(),
        sampler.guidance,
        bench.task.quality.batch,
        progress,
        name,
    )


def pictured(
    bench: Bench,
    unet: UNet,
    sampler: SamplerSpec,
    levels: Levels,
    seed: int | None = None,
    count: int | None = None,
) -> np.ndarray:
    """Images of a student, to be judged.

    Args:
        bench: noise, labels and batches.
        unet: the student's network.
        sampler: solver and guidance.
        levels: (T + 1,), falling, the last 0.
        seed: of the noise; None for the one that all are judged on.
        count: of images, N; None for as many as the bench judges by.

    Returns:
        (N, H, W, C).

    Raises:
        Diverged: they are not finite.
        OutOfMemory: one at a time takes more than the memory budget.
    """
    noise_seed = bench.task.quality.noise_seed if seed is None else seed
    about = unet, sampler.solver, levels, bench.start(noise_seed, count), bench.labels(count)
    draw = functools.partial(generate, *about, sampler.guidance)
    images = in_parts("sampling images", bench.task.quality.batch, draw)
    if not np.isfinite(images).all():
        raise Diverged("its images are not finite")
    return images


def judged_again(
    bench: Bench, workspace: Path, progress: Progress, name: str
) -> tuple[Judge, dict[str, Any]]:
    """The reference on the report's noise and the other half of the held-out images.

    Args:
        bench: what to judge with.
        workspace: the figures are kept in its cache.
        progress: told after each batch.
        name: what it is told.

    Returns:
        The judge of the other half, and the reference's gap and replicates.
    """
    judge, seed = bench.report_judge(), bench.task.quality.report_noise_seed
    found = _reference_quality(bench, judge, seed, workspace, progress, name)
    return judge, {name: found[name] for name in ("gap", "replicates")}


def _reference_quality(
    bench: Bench, judge: Judge, seed: int, workspace: Path, progress: Progress, name: str
) -> dict[str, Any]:
    """The reference on the noise of a seed, judged once per cache key; all of `Quality`."""
    task = bench.task
    half = "first" if judge is bench.judge else "second"
    about = bench.digests, task.quality, task.reference, task.trajectories
    key = digest("reference noise", SCHEMA, *about, half, seed)
    with building(workspace / "cache" / "references" / key) as folder:
        known = read_json(folder / "quality.json")
        if known is None:
            levels, unet = sampler_levels(bench, task.reference), bench.teacher.unet
            images = drawn(bench, unet, task.reference, levels, seed, progress, name)
            known = dataclasses.asdict(judge.score(images))
            write_json(folder / "quality.json", known)
    assert isinstance(known, dict)
    return known


def _facts(bench: Bench, folder: Path, progress: Progress) -> dict[str, Any]:
    task, teacher = bench.task, bench.teacher
    seed, sampler = task.quality.noise_seed, task.reference
    levels = sampler_levels(bench, sampler)
    images, timed = timed_generate(teacher, sampler, levels, bench, seed, progress)
    yard = Yardstick(_step(bench), timed.timing.median_ms / timed.ratio)
    speed = yard.latency(timed, task.latency_batch)
    quality = bench.judge.score(images)
    noise = gaussian(bench.judge, bench.dataset)
    save_grid(folder / "samples.png", images)
    few = latency(teacher, sampler.solver, levels, sampler.guidance, 1, yardstick=yard)
    reference = {
        **to_dict(sampler),
        **figures(quality),
        "replicates": dataclasses.asdict(quality.replicates),
        "resolutions": reduced(bench, images),
        "gaussian_gap": noise.gap,
        "gaussian_sliced": noise.sliced,
        "retention": 1.0,
        "latency_ms": speed.median_ms,
        "latency_iqr_ms": speed.iqr_ms,
        "latency_batch": task.latency_batch,
        "latency_batch1_ms": few.median_ms,
        "step_ms": yard.ms,
        **peak_memory(teacher, sampler.solver, levels, sampler.guidance, task.latency_batch),
        **cost(teacher.unet.spec).figures,
        "spec_hash": teacher.unet.spec.hash,
    }
    rows = [_row(bench, s, reference, yard, seed, progress) for s in task.samplers]
    return {
        "reference": reference,
        "training_free": rows,
        "environment": environment(),
        "digests": bench.digests,
    }


def reduced(bench: Bench, images: np.ndarray) -> dict[str, dict[str, Any]]:
    """The reference's images averaged down to the lower resolutions that are judged.

    Args:
        bench: its judges of lower resolutions.
        images: (N, H, W, C).

    Returns:
        By side, as text, gap, floor, sliced and replicates.
    """
    found = {}
    for side, judge in bench.smaller.items():
        quality = judge.score(averaged(np.clip(images, -1, 1), side))
        values = {k: getattr(quality, k) for k in ("gap", "floor", "sliced")}
        found[str(side)] = {**values, "replicates": dataclasses.asdict(quality.replicates)}
    return found


def at_resolutions(
    bench: Bench, model: Model, reference: Mapping[str, Any], seed: int
) -> dict[str, float]:
    """How good a model is at the lower resolutions that are judged.

    It draws images of each side at noise levels that are lower by the ratio of the sides.

    Args:
        bench: its judges of lower resolutions.
        model: any; one that was not trained at them is shown for what it is there.
        reference: its facts; see `reduced`.
        seed: of the noise.

    Returns:
        gap, retention, retention_low and retention_high of each side, as ``gap_8px``; retention 0
        alone where the network cannot take the side, or its images are not finite.
    """
    found: dict[str, float] = {}
    spec, labels = model.unet.spec, bench.labels()
    for side, judge in bench.smaller.items():
        if side % spec.stride:
            found[f"retention_{side}px"] = 0.0
            continue
        levels, start = model.levels * side / spec.resolution, bench.start(seed, side=side)
        about = model.unet, model.sampler.solver, levels, start, labels, model.sampler.guidance
        draw = functools.partial(generate, *about)
        images = in_parts(f"sampling images of {side} px", bench.task.quality.batch, draw)
        if not np.isfinite(images).all():
            found[f"retention_{side}px"] = 0.0
            continue
        quality = judge.score(images)
        kept = compared(reference["resolutions"][str(side)], quality)
        values = {"gap": quality.gap, **kept}
        found |= {f"{name}_{side}px": value for name, value in values.items()}
    return found


def _row(
    bench: Bench,
    sampler: SamplerSpec,
    reference: dict[str, Any],
    yard: Yardstick,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    levels = sampler_levels(bench, sampler)
    images, timed = timed_generate(bench.teacher, sampler, levels, bench, seed, progress)
    speed = yard.latency(timed, bench.task.latency_batch)
    quality = bench.judge.score(images)
    kept = compared(reference, quality)
    times = {"latency_ms": speed.median_ms, "latency_iqr_ms": speed.iqr_ms}
    return {**to_dict(sampler), **figures(quality), **kept, **times}


def check_teacher(reference: dict[str, Any], worst: float) -> None:
    """Refuse a teacher that is not worth imitating.

    Args:
        reference: its facts.
        worst: the largest gap, as a share of the pixel-Gaussian's; 0 lets every teacher pass.

    Raises:
        NegativeVerdict: its gap is larger, the second metric disagrees, or it repeats its training
            images.
    """
    if worst == 0:
        return
    gap, gaussian = reference["gap"], reference["gaussian_gap"]
    advice = "train it longer (teacher.iterations) or give a better one with --teacher"
    if gap > worst * gaussian:
        raise NegativeVerdict(
            f"the teacher is not worth imitating: its gap {gap:.3g} is over {worst:.0%} of "
            f"the {gaussian:.3g} of Gaussian pixels; {advice}"
        )
    if reference["sliced"] > worst**0.5 * reference["gaussian_sliced"]:
        raise NegativeVerdict(
            f"the teacher's sliced Wasserstein distance {reference['sliced']:.3g} is near the "
            f"{reference['gaussian_sliced']:.3g} of Gaussian pixels; {advice}"
        )
    if reference["memorizing"]:
        raise NegativeVerdict(
            "the teacher repeats its training images (nearest-neighbor ratio "
            f"{reference['nearest_ratio']:.2f}); train it on more data or for less time"
        )


def fastest_free(facts: dict[str, Any], kept: float) -> float | None:
    """Latency in ms of the teacher's fastest setting of no lower retention; None without one.

    Args:
        facts: of `measure_reference`: its training-free points, and the reference itself.
        kept: the retention.
    """
    settings = [*facts["training_free"], {**facts["reference"], "retention": 1.0}]
    return min((s["latency_ms"] for s in settings if s["retention"] >= kept), default=None)
