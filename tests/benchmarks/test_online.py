"""Students taught without trajectories, by the plain loop and as an evaluator of a search."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ado_nas.bench import open_bench
from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import StudyError
from ado_nas.modelfolder import load_model
from ado_nas.progress import silent
from ado_nas.reference import measure_reference
from ado_nas.specs import QualitySpec, SamplerSpec, TaskSpec, TrajectorySpec
from benchmarks.judging import judged
from benchmarks.online import lengths, open_evaluator, stages
from benchmarks.plainloop import Plan, run_plain
from objectives.scores import Limits
from search_spaces.candidate import build
from search_spaces.space import anchors
from studies.config import resolve


@pytest.mark.parametrize(
    ("steps", "wanted"), [(1, (8, 4, 2, 1)), (3, (12, 6, 3)), (4, (8, 4)), (9, (9,))]
)
def test_stages_halve_to_the_last_one(steps: int, wanted: tuple[int, ...]) -> None:
    assert stages(steps) == wanted


@pytest.mark.parametrize(("total", "count"), [(1000, 4), (7, 3), (5, 1), (2, 4)])
def test_first_stage_has_half_of_the_iterations_and_none_is_lost(total: int, count: int) -> None:
    found = lengths(total, count)
    assert len(found) == count and sum(found) == total and min(found) >= 0
    assert found[0] == (total // 2 if count > 1 else total)
    assert count == 1 or max(found[1:]) - min(found[1:]) <= 1


class Here:
    """The channel of a process that is this one."""

    progress = staticmethod(silent)


class Interrupting:
    """A channel that asks the process to stop."""

    def progress(self, *told: object) -> None:
        raise KeyboardInterrupt


def tiny() -> TaskSpec:
    task = resolve("smoke").task
    return dataclasses.replace(
        task,
        teacher=dataclasses.replace(task.teacher, iterations=10),
        trajectories=TrajectorySpec(count=32, levels=4),
        quality=QualitySpec(samples=32, feature_iterations=8),
        reference=SamplerSpec(nfe=4),
    )


def test_another_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="own device"):
        open_evaluator(tiny(), tmp_path, {}, timed=False)


@pytest.mark.slow
def test_plain_loop_goes_on_where_it_was_left_and_its_students_are_judged_alike(
    tmp_path: Path, own_lock: Path
) -> None:
    smoke = resolve("smoke")
    task = dataclasses.replace(tiny(), inherit=False)
    learning = dataclasses.replace(smoke.distillation, iterations=8, batch=8)
    plan = Plan(task, smoke.space, learning, 1, 0)
    channel, place = Here(), tmp_path / "plain"
    (first,) = run_plain(channel, plan, tmp_path, place)  # type: ignore[arg-type]
    more = dataclasses.replace(plan, trials=2)
    with pytest.raises(KeyboardInterrupt):
        run_plain(Interrupting(), more, tmp_path, place)  # type: ignore[arg-type]
    ended = run_plain(channel, more, tmp_path, place)  # type: ignore[arg-type]
    assert ended[0] == first and len(ended) == 2
    assert [end for end, _ in ended] == sorted(end for end, _ in ended)
    models = [load_model(Path(folder)) for _, folder in ended]
    wanted = [build(smoke.space, p, task.teacher.unet, learning) for p in anchors(smoke.space)[:2]]
    assert [m.unet.spec.widths for m in models] == [c.unet.widths for c in wanted]
    # What a student visits is what the teacher visits, or every second of it, and so on.
    one = next(m for m in models if m.sampler.nfe == 1)
    grid = karras_levels(16, task.trajectories.sigma_min, task.trajectories.sigma_max)
    assert np.allclose(one.levels, grid[[0, -1]])

    folders = [Path(folder) for _, folder in ended]
    about = task, tmp_path, [*folders, folders[0]], tmp_path / "latencies"
    found = judged(channel, *about)  # type: ignore[arg-type]
    assert found["models"][2] == found["models"][0]  # the same noise, and one latency
    gaps = [m.card["figures"]["gap"] for m in models]
    assert all(m["gap"] != gap for m, gap in zip(found["models"], gaps, strict=False))
    again = judged(channel, *about)  # type: ignore[arg-type]
    assert again == found


@pytest.mark.slow
def test_evaluator_inherits_where_the_task_does_and_scores_like_the_engines(
    tmp_path: Path, own_lock: Path
) -> None:
    smoke, task = resolve("smoke"), tiny()
    facts = measure_reference(open_bench(task, tmp_path), tmp_path, silent)
    evaluator = open_evaluator(task, tmp_path, facts)
    learning = dataclasses.replace(smoke.distillation, iterations=60, batch=4)
    candidate = build(smoke.space, {"widths": "8-16", "steps": 2}, task.teacher.unet, learning)
    losses: dict[int, float] = {}

    def report(iteration: int, scores: dict[str, float]) -> bool:
        losses[iteration] = scores["loss"]
        return False

    about = {"seed": 0, "folder": tmp_path / "a", "report": report}
    refused = evaluator(candidate, limits=Limits(max_size_mb=1e-6), **about)  # type: ignore[arg-type]
    assert refused.state == "infeasible" and not losses
    found = evaluator(candidate, limits=Limits(), **about)  # type: ignore[arg-type]
    assert found.state == "complete" and list(losses) == [50]
    kept = load_model(tmp_path / "a")
    assert kept.unet.spec == candidate.unet and kept.sampler.schedule == "karras"
    reference = facts["reference"]
    wanted = (reference["gap"] + reference["floor"]) / (found.values["gap"] + reference["floor"])
    assert found.attributes["retention"] == pytest.approx(wanted)
    assert found.constraints["retention"] == pytest.approx(Limits().min_retention - wanted)
