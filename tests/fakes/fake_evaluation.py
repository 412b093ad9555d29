"""A test double of `objectives.evaluation`: formulas instead of models, and faults on demand.

`fake.json` in the workspace says what shall go wrong, by the choices of a candidate:
``{"crash": {"steps": 1}, "fail": {...}, "nan": {...}, "diverge": {...}, "seconds": 0.1}``. With
``"climb": 3.0`` each reports at rungs, its gap so many times what it ends with; ``"luck":
{"1": 0.7}`` says by seed how much of the retention is kept when measured again.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ado_nas.errors import Diverged, StudyError
from ado_nas.files import sha256
from ado_nas.progress import Progress
from ado_nas.specs import Candidate, TaskSpec, from_dict
from objectives.constraints import violations
from objectives.scores import Limits, Outcome, Report

REFERENCE = {"gap": 10.0, "floor": 1.0, "latency_ms": 400.0, "size_mb": 2.4, "nfe": 50}
PICTURE = base64.b64decode(  # 8 px of gray
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR42mNsYIAAJgaKGAAmCACQtTEKkQAAAABJRU5Er"
    "kJggg=="
)
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
        "parts": _parts(workspace),
    }


def surroundings() -> dict[str, Any]:
    """The device: another one where the environment says so."""
    return {"device": os.environ.get("FAKE_DEVICE", "fake"), "mlx": "none"}


class FakeEvaluator:
    """Scores by formula."""

    def __init__(self, workspace: Path, timed: bool = True) -> None:
        self._workspace = workspace
        self._timed = timed

    def __call__(
        self,
        candidate: Candidate,
        *,
        seed: int,
        folder: Path,
        limits: Limits,
        report: Report,
        rungs: Collection[int] = (),
    ) -> Outcome:
        """Evaluate, or break as asked."""
        faults = _faults(self._workspace)
        with (self._workspace / "evaluated.log").open("a") as log:
            log.write(f"{candidate.hash} {folder.name}\n")
        found = scores(candidate)
        missed = violations(limits, found)
        if max(missed.values()) > 0:
            return Outcome("infeasible", constraints=missed, reason="over a static limit")
        _wait(self._workspace, report)
        _break(candidate, faults)
        kept = (REFERENCE["gap"] + 1) / (found["gap"] + 1)
        if "climb" in faults and _climbed(found, kept, rungs, report, faults["climb"]):
            return Outcome("pruned", {}, dict.fromkeys(missed, 0.0), {}, "asked to stop")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(json.dumps(asdict(candidate)))
        (folder / "samples.png").write_bytes(PICTURE)
        missed = violations(limits, {**found, "retention": kept})
        if _applies(candidate, faults.get("nan")):
            found["gap"] = float("nan")
        further = {"retention": kept, "speedup": 400 / found["latency_ms"], "seed": seed}
        figures = {**found, **further, "luck": faults.get("luck", {}).get(str(seed), 1.0)}
        _weigh(folder, candidate.hash, figures)
        if not self._timed:
            return Outcome("trained", {}, {}, {**found, **further, "latency_ms": 0.0})
        return Outcome("complete", found, missed, further)

    def time(self, outcome: Outcome, *, folder: Path, limits: Limits) -> Outcome:
        """The latency, as the file says it that was left for it."""
        spec = json.loads((folder / "spec.json").read_text())
        latency = cost(from_dict(Candidate, spec)) * NANOSECONDS
        found = {**outcome.attributes, "latency_ms": latency, "timed": True}
        values = {name: found[name] for name in ("gap", "latency_ms", "size_mb")}
        return Outcome("complete", values, violations(limits, found), found)


def open_evaluator(
    task: TaskSpec, workspace: Path, facts: dict[str, Any] | None = None, timed: bool = True
) -> FakeEvaluator:
    """The evaluator, unless it is to break."""
    if _faults(workspace).get("closed"):
        raise RuntimeError("the evaluator does not open")
    if task.teacher_folder:
        assert Path(task.teacher_folder, "model.safetensors").read_bytes() == b"a teacher"
    return FakeEvaluator(workspace, timed)


def remeasure(
    task: TaskSpec,
    workspace: Path,
    folders: list[Path],
    progress: Progress,
    facts: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The same again, but for the luck of its seed."""
    if facts["digests"]["teacher"] != _faults(workspace).get("teacher", "t"):
        raise StudyError("another teacher")
    rows = []
    for folder in folders:
        found = json.loads((folder / "card.json").read_text())
        assert sha256(folder / "model.safetensors") == found["weights_sha256"], folder
        kept = found["retention"] * found["luck"]
        interval = {"retention_low": 0.95 * kept, "retention_high": 1.05 * kept}
        gap = (REFERENCE["gap"] + 1) / kept - 1
        latency = found["latency_ms"]
        rows.append({"gap": gap, "retention": kept, "latency_ms": latency, **interval})
    progress("remeasure", len(folders), len(folders))
    return [{**row, "repeated": True} for row in rows]


def _weigh(folder: Path, text: str, figures: dict[str, Any]) -> None:
    weights = folder / "model.safetensors"
    weights.write_text(text)
    card = {**figures, "weights_sha256": sha256(weights)}
    (folder / "card.json").write_text(json.dumps(card))


def _parts(workspace: Path) -> dict[str, str]:
    """A teacher of three words and a bank of one, where the real ones lie."""
    made = {
        "teacher": ("teachers/t", "model.safetensors"),
        "trajectories": ("trajectories/b", "b"),
    }
    places = {}
    for name, (folder, file) in made.items():
        place = workspace / "cache" / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / file).write_bytes(f"a {name}".encode())
        places[name] = str(place)
    return places


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
    if faults.get("full"):
        Path("/dev/full").write_text("x")
    if _applies(candidate, faults.get("fail")):
        raise ZeroDivisionError("a bug, as asked")
    if _applies(candidate, faults.get("diverge")):
        raise Diverged("loss is nan at iteration 7")


def _climbed(
    found: dict[str, float], kept: float, rungs: Collection[int], report: Report, times: float
) -> bool:
    """Whether it was asked to stop at a rung."""
    now = {**found, "gap": times * found["gap"]}
    now |= {"retention": kept / times, "retention_high": kept / times}
    return any(report(rung, now) for rung in rungs)


def _wait(workspace: Path, report: Report) -> None:
    """As long as the faults say, which may change meanwhile."""
    begin = time.monotonic()
    while time.monotonic() < begin + _faults(workspace).get("seconds", 0.0):
        time.sleep(0.01)
        report(0, {})
