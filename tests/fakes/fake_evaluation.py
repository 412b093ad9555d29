"""A test double of `objectives.evaluation`: formulas instead of models, and faults on demand.

`fake.json` in the workspace says what shall go wrong, by the choices of a candidate:
``{"crash": {"steps": 1}, "fail": {...}, "nan": {...}, "diverge": {...}, "seconds": 0.1}``.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ado_nas.errors import Diverged
from ado_nas.progress import Progress
from ado_nas.specs import Candidate, TaskSpec
from objectives.constraints import violations
from objectives.scores import Limits, Outcome, Report

REFERENCE = {"gap": 10.0, "floor": 1.0, "latency_ms": 400.0, "size_mb": 2.4, "nfe": 50}
NANOSECONDS = 1e-6  # the injected clock: milliseconds that one unit of cost takes


def cost(candidate: Candidate) -> float:
    """Units of cost of one image."""
    unet = candidate.unet
    per_level = zip(unet.widths, unet.blocks, strict=True)
    slow = 1.3 if unet.activation == "hardswish" else 1.0
    work = sum(w * w * b * 256 / 4**i for i, (w, b) in enumerate(per_level))
    return float(slow * work * candidate.sampler.nfe * 4 / unet.patch**2)


def scores(candidate: Candidate) -> dict[str, float]:
    """Gap, latency and size by formula."""
    unet = candidate.unet
    size = sum(w * w * b * 36 for w, b in zip(unet.widths, unet.blocks, strict=True)) / 1e6
    gap = (
        8 + 2 / size / candidate.sampler.nfe + (unet.patch - 1) + 0.5 * ("full" in unet.attention)
    )
    return {"gap": gap, "latency_ms": cost(candidate) * NANOSECONDS, "size_mb": size}


def prepare(task: TaskSpec, workspace: Path, progress: Progress) -> dict[str, Any]:
    """The facts of a teacher that was never trained."""
    wanted = _faults(workspace)
    progress("teacher", 1, 1)
    time.sleep(wanted.get("prepare_seconds", 0.0))
    return {
        "reference": REFERENCE,
        "training_free": [{"solver": "ddim", "nfe": 8, "latency_ms": 64.0, "retention": 0.5}],
        "environment": {"device": wanted.get("device", "fake"), "mlx": "none"},
        "digests": {"data": f"{task.data.seed}", "teacher": "t"},
        "seconds": {"teacher": 1.0, "trajectories": 2.0},
    }


class FakeEvaluator:
    """Scores by formula."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    def __call__(
        self, candidate: Candidate, *, seed: int, folder: Path, limits: Limits, report: Report
    ) -> Outcome:
        """Evaluate, or break as asked."""
        faults = _faults(self._workspace)
        with (self._workspace / "evaluated.log").open("a") as log:
            log.write(f"{candidate.hash} {folder.name}\n")
        found = scores(candidate)
        missed = violations(limits, found)
        if max(missed.values()) > 0:
            return Outcome("infeasible", constraints=missed, reason="over a static limit")
        _wait(faults.get("seconds", 0.0), report)
        _break(candidate, faults)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(json.dumps(asdict(candidate)))
        (folder / "samples.png").write_bytes(b"not really a picture")
        kept = (REFERENCE["gap"] + 1) / (found["gap"] + 1)
        missed = violations(limits, {**found, "retention": kept})
        if _applies(candidate, faults.get("nan")):
            found["gap"] = float("nan")
        further = {"retention": kept, "speedup": 400 / found["latency_ms"], "seed": seed}
        return Outcome("complete", found, missed, further)


def open_evaluator(task: TaskSpec, workspace: Path) -> FakeEvaluator:
    """The evaluator, unless it is to break."""
    if _faults(workspace).get("closed"):
        raise RuntimeError("the evaluator does not open")
    return FakeEvaluator(workspace)


def remeasure(
    task: TaskSpec, workspace: Path, folders: list[Path], progress: Progress
) -> list[dict[str, Any]]:
    """The same again, a little worse."""
    for folder in folders:
        assert (folder / "spec.json").exists(), folder
    progress("remeasure", len(folders), len(folders))
    return [{"retention": 0.95, "repeated": True} for _ in folders]


def _faults(workspace: Path) -> dict[str, Any]:
    path = workspace / "fake.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _applies(candidate: Candidate, choices: dict[str, Any] | None) -> bool:
    if choices is None:
        return False
    facts = {
        "steps": candidate.sampler.nfe,
        "activation": candidate.unet.activation,
        "widths": "-".join(map(str, candidate.unet.widths)),
    }
    return all(facts[k] == v for k, v in choices.items())


def _break(candidate: Candidate, faults: dict[str, Any]) -> None:
    if _applies(candidate, faults.get("crash")):
        os.kill(os.getpid(), signal.SIGKILL)
    if _applies(candidate, faults.get("fail")):
        raise ZeroDivisionError("a bug, as asked")
    if _applies(candidate, faults.get("diverge")):
        raise Diverged("loss is nan at iteration 7")


def _wait(seconds: float, report: Report) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
        report(0, {})
