"""How the length of a study tells on showing and reporting it, and on its next trial."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.errors import ConfigError
from ado_nas.files import read_json
from ado_nas.progress import Progress
from reports.page import write_report
from reports.summary import summary
from reports.terminal import trial_row
from search_spaces.space import Space
from studies.axes import VALUES, axes
from studies.claims import Claim, claim
from studies.config import resolve
from studies.filling import Finished, fill
from studies.pruning import rungs
from studies.record import load
from studies.rungs import RUNGS, Climb
from studies.session import Session, bind, open_session

LENGTHS = (100, 1000, 10_000)
TABLE = Path(__file__).parent / "results" / "rungs.json"
JITTER = 0.05  # of a recorded figure, so that no two trials are alike
FIGURES = 30  # further attributes of a trial, as many as a real one has


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    lengths: tuple[int, ...] = LENGTHS,
    table: Path = TABLE,
) -> dict[str, Any]:
    """Make studies of recorded trials, repeated with a jitter, and time what people wait for.

    Args:
        seed: of the jitter and of the draws.
        row: place in `lengths`; None for all.
        workspace: not used; temporary ones are measured in.
        progress: gets ``scale``.
        lengths: trials of each study.
        table: recorded trials, as `benchmarks.rungs` writes them.

    Returns:
        ``rows``: ``trials``, how many of them have the least retention (``feasible``) and are on
        the ``front``, and in seconds ``show_s`` (the study read and listed), ``report_s`` (page,
        CSV and JSON of a study that is read), ``suggestion_s`` (a trial claimed, drawn by TPE in a
        process that has the study open) and ``decision_s`` (of the pruner at a rung).

    Raises:
        ConfigError: no such row, or no recorded trials.
    """
    if row is not None and row >= len(lengths):
        raise ConfigError(f"row {row}: there are {len(lengths)}, from 0 on")
    recorded = read_json(table)
    if not recorded:
        raise ConfigError(f"no recorded trials at {table}; python -m benchmarks.rungs makes them")
    chosen = lengths if row is None else lengths[row : row + 1]
    rows = []
    for length in chosen:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_row(Path(folder), length, recorded, seed))
        progress("scale", len(rows), len(chosen), f"{length} trials")
    return {"rows": rows}


def made_study(workspace: Path, length: int, recorded: dict[str, Any], seed: int) -> Session:
    """A study of that many complete trials, each a recorded one with a jitter.

    Args:
        workspace: an empty folder.
        length: how many.
        recorded: as `benchmarks.rungs` writes them.
        seed: of the jitter.

    Returns:
        The open study.
    """
    flags = {"trials": length + 100, "seed": seed, "study": "scale", "task.data.resolution": 16}
    flags["min_retention"] = _least(recorded)
    config = dataclasses.replace(resolve("digits", flags=flags), space=Space())
    session = open_session(config, workspace)
    bind(session, {"reference": recorded["reference"], "digests": {}, "environment": {}})
    session.study.set_user_attr("config", {})
    fill(session, _trials(session, length, recorded, np.random.default_rng(seed)))
    return session


def _trials(
    session: Session, length: int, recorded: dict[str, Any], rng: np.random.Generator
) -> Iterator[Finished]:
    rows = _scored(recorded)
    for number in range(length):
        row = rows[number % len(rows)]
        figures = {n: float(row[n] * np.exp(rng.normal(0, JITTER))) for n in VALUES}
        dimensions = session.space.dimensions
        choices = {d.name: int(rng.integers(len(d.choices))) for d in dimensions}
        kept = _retention(recorded, figures)
        told = {**figures, "retention": kept, "state": "complete", "reason": "", "folder": ""}
        told |= {"spec_hash": f"{number:012x}", "worker": "made/0"}
        told |= {RUNGS: json.dumps(_climbed(session, row, figures))}
        told |= {f"figure_{i}": float(v) for i, v in enumerate(rng.random(FIGURES))}
        least = session.config.limits.min_retention
        violations = {"retention": least - kept, "training": 0.0}
        yield Finished(axes(figures, session.floor), choices, told, violations)


def _scored(recorded: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in recorded["trials"] if "gap" in row]


def _retention(recorded: dict[str, Any], row: dict[str, Any]) -> float:
    reference = recorded["reference"]
    return float((reference["gap"] + reference["floor"]) / (row["gap"] + reference["floor"]))


def _least(recorded: dict[str, Any]) -> float:
    """The least retention of the made studies, which half of the recorded trials have."""
    return float(np.median([_retention(recorded, row) for row in _scored(recorded)]))


def _climbed(
    session: Session, row: dict[str, Any], figures: dict[str, float]
) -> list[dict[str, float]]:
    """How a recorded trial stood at the rungs of a study, one after the other."""
    config = session.config
    own = {name: figures[name] for name in ("latency_ms", "size_mb")}
    wanted = rungs(config.distillation.iterations, config.grace, config.factor)
    names = ("gap", "retention", "retention_high")
    return [
        {"iteration": rung, **own, **{name: told[name] for name in names}}
        for rung, told in zip(wanted, row["rungs"], strict=False)
    ]


def _row(folder: Path, length: int, recorded: dict[str, Any], seed: int) -> dict[str, Any]:
    session = made_study(folder, length, recorded, seed)
    with closing(session.store):
        record, read = _timed(lambda: load(session.store.url, "scale", folder))
        _, listed = _timed(
            lambda: (summary(record, None), [trial_row(record, t) for t in record.trials])
        )
        _, reported = _timed(lambda: write_report(record, folder / "report", folder))
        session.trials()  # as a worker that has been there for a while
        claimed, suggested = _timed(lambda: claim(session, "made/1"))
        assert isinstance(claimed, Claim)
        climb = Climb(session, claimed.trial)
        whole = _scored(recorded)[0]
        (first, *_) = _climbed(session, whole, whole)
        _, decided = _timed(lambda: climb.stops(climb.rungs[0], first))
    times = {"show_s": read + listed, "report_s": reported}
    times |= {"suggestion_s": suggested, "decision_s": decided}
    found = {"trials": length, "feasible": sum(t.feasible for t in record.trials)}
    found["front"] = len(record.front)
    return {**found, **{name: round(value, 3) for name, value in times.items()}}


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    found = call()
    return found, time.perf_counter() - start
