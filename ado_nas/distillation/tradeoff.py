"""What one gains and loses by fewer steps and fewer weights, as plain rows."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from ado_nas.bench import Bench
from ado_nas.device import environment
from ado_nas.distillation.attempts import Result
from ado_nas.distillation.planner import Plan
from ado_nas.distillation.progressive import Decision
from ado_nas.files import read_json
from ado_nas.measure.cost import cost
from ado_nas.modelfolder import SAMPLER
from ado_nas.optimization import OptimizationSpec


def stage_row(decision: Decision) -> dict[str, Any]:
    """A decision as one flat row.

    Args:
        decision: of a run.
    """
    attempt, told = decision.result.attempt, decision.result.verdict
    return {
        "stage": decision.stage,
        "key": decision.result.key,
        "kind": decision.kind,
        "input_steps": decision.input_steps,
        "output_steps": attempt.steps,
        "input_mb": decision.input_mb,
        "output_mb": cost(attempt.unet).size_mb,
        "method": attempt.method,
        "iterations": attempt.iterations,
        "training_s": decision.result.figures.get("training_s"),
        **{k: v for k, v in dataclasses.asdict(told).items() if k != "reason"},
        "action": decision.action,
        "note": decision.note,
    }


def tradeoff(
    bench: Bench,
    spec: OptimizationSpec,
    facts: dict[str, Any],
    chosen: Plan,
    decisions: list[Decision],
    best: Result,
    folder: Path,
    latency_ms: float | None = None,
) -> dict[str, Any]:
    """Quality against steps, size and latency, of all that was measured in one run.

    Args:
        bench: device and sample counts.
        spec: the goal.
        facts: from `measure_reference`.
        chosen: the plan.
        decisions: all attempts.
        best: the student that was exported.
        folder: of the run; sample grids are named relative to it.
        latency_ms: of the student that was exported, timed in turns with the reference and given
            in its time as of `facts`; None to take the attempt's own.

    Returns:
        ``rows`` with one entry a point, ``stages`` with one a decision, and what they are about.
    """
    reference = facts["reference"]
    rows = [_row("reference", reference, reference["size_mb"], "reference")]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(reference["samples"], folder / "reference.png")
    rows[0]["samples"] = "reference.png"
    for row in facts["training_free"]:
        label = f"{row['solver']} {row['schedule']}, {row['nfe']} steps"
        rows.append(_row("training_free", row, reference["size_mb"], label))
    for decision in decisions:
        result = decision.result
        if result.folder:
            rows.append(_student_row(decision, chosen=result is best))
            if result is best and latency_ms is not None:
                rows[-1]["latency_ms"] = latency_ms
    return {
        "name": f"{bench.task.data.name}, {chosen.original} to {spec.target_steps} steps",
        "quality_threshold": spec.quality_threshold,
        "plan": dataclasses.asdict(chosen),
        "device": environment()["device"],
        "samples": bench.task.quality.samples,
        "noise_sets": spec.noise_sets,
        "rows": rows,
        "stages": [stage_row(d) for d in decisions],
    }


def _row(kind: str, figures: dict[str, Any], size_mb: float, label: str) -> dict[str, Any]:
    kept = figures["retention"]
    return {
        "kind": kind,
        "label": label,
        "steps": figures["nfe"],
        "solver": figures["solver"],
        "schedule": figures["schedule"],
        "size_mb": size_mb,
        **{name: figures[name] for name in ("latency_ms", "gap", "gap_low", "gap_high")},
        "retention": kept,
        "retention_low": figures.get("retention_low", kept),
        "retention_high": figures.get("retention_high", kept),
        "passed": None,
        "chosen": False,
        "stage": None,
        "samples": None,
    }


def _student_row(decision: Decision, chosen: bool) -> dict[str, Any]:
    result = decision.result
    told, attempt = result.verdict, result.attempt
    assert result.folder is not None  # it was judged
    known = read_json(result.folder / SAMPLER) or {}
    sampler = {"nfe": attempt.steps, **{k: known.get(k, "") for k in ("solver", "schedule")}}
    kept = ("retention", "retention_low", "retention_high")
    figures = {**result.figures, **sampler, **{name: getattr(told, name) for name in kept}}
    size = result.figures["size_mb"]
    label = f"{attempt.steps} steps, {size:.3g} MB, {attempt.iterations} iterations"
    row = _row("student", figures, size, label)
    grid = f"../attempts/{result.key}/samples.png"
    return row | {
        "passed": told.passed,
        "chosen": chosen,
        "stage": decision.stage,
        "samples": grid,
    }
