"""What a trial costs beyond its evaluation: Optuna, storage, artifacts and the MLflow mirror."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.errors import ConfigError
from ado_nas.progress import Progress
from ado_nas.specs import Candidate, to_dict
from objectives.constraints import violations
from objectives.scores import Limits, Outcome, Report
from search_spaces.space import Space
from studies.claims import Claim, claim
from studies.config import resolve
from studies.history import study_record
from studies.search import fresh_trials
from studies.session import Session, bind, open_session
from studies.settlement import attach, settle
from studies.tracking import Mirror, mirror

TRIALS = 200
WEIGHTS = 400_000  # bytes of a student's file
PICTURE = 20_000
FIGURES = 30  # further attributes of a trial
TAIL = 50  # the cost at 200 trials is the mean of the last so many


def run(
    *, seed: int, row: int | None, workspace: Path, progress: Progress, trials: int = TRIALS
) -> dict[str, Any]:
    """Run the loop of a worker on an instant evaluator, with storage, artifacts and mirror.

    Args:
        seed: of the search.
        row: 0 or None; there is one row.
        workspace: not used; a temporary one is measured in.
        progress: gets ``overhead``.
        trials: how many.

    Returns:
        ``rows``: one, with ``trials``, ``ms_per_trial`` (mean of the last 50) and its ``parts``.

    Raises:
        ConfigError: no such row.
    """
    if row:
        raise ConfigError(f"row {row}: there is one row, 0")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        session = _session(Path(folder), seed, trials)
        stack.callback(session.store.close)
        parts: dict[str, list[float]] = {"claim": [], "settle": [], "mlflow": []}
        record = study_record(session.study, session.workspace)
        with mirror(record, session.workspace) as opened:
            assert opened is not None
            for number in range(trials):
                _trial(session, opened, parts)
                progress("overhead", number + 1, trials)
    return {"rows": [_row(parts, trials)]}


class Instant:
    """An evaluator that takes no time: scores by chance, files of the usual size.

    Args:
        seed: of the scores.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._bytes = self._rng.bytes(WEIGHTS)

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
        """Score by chance."""
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(self._bytes)
        (folder / "samples.png").write_bytes(self._bytes[:PICTURE])
        (folder / "spec.json").write_text(json.dumps(to_dict(candidate)))
        gap, latency, size = np.exp(self._rng.normal(size=3)).tolist()
        values = {"gap": gap, "latency_ms": latency, "size_mb": size}
        figures = {f"figure_{i}": float(v) for i, v in enumerate(self._rng.random(FIGURES))}
        return Outcome("complete", values, violations(limits, values), figures)


def _session(workspace: Path, seed: int, trials: int) -> Session:
    flags = {"trials": trials, "seed": seed, "study": "overhead", "task.data.resolution": 16}
    # A space with more candidates than trials: nothing is a duplicate.
    config = dataclasses.replace(resolve("digits", flags=flags), space=Space())
    session = open_session(config, workspace)
    reference = {"gap": 1.0, "floor": 0.1, "latency_ms": 10.0, "size_mb": 10.0}
    bind(session, {"reference": reference})
    return session


def _trial(session: Session, opened: Mirror, parts: dict[str, list[float]]) -> None:
    """One trial as a worker and its supervisor handle it, each part timed."""
    instant = Instant(len(parts["claim"]))
    with _clock(parts["claim"]):
        claimed = claim(session, "host/worker")
    assert isinstance(claimed, Claim)
    number = claimed.trial.number
    folder = session.workspace / "studies" / "overhead" / "trials" / str(number)
    outcome = instant(
        claimed.candidate, seed=0, folder=folder, limits=Limits(), report=lambda *_: False
    )
    with _clock(parts["settle"]):
        attach(session, claimed.trial)
        settle(session, claimed, outcome)
    with _clock(parts["mlflow"]):
        opened.log(fresh_trials(session, opened))


@contextmanager
def _clock(into: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    into.append(1000 * (time.perf_counter() - start))


def _row(parts: dict[str, list[float]], trials: int) -> dict[str, Any]:
    means = {name: round(float(np.mean(times[-TAIL:])), 2) for name, times in parts.items()}
    return {"trials": trials, "ms_per_trial": round(sum(means.values()), 2), "parts": means}
