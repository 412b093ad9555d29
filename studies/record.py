"""A study as frozen plain data: what reports, exports and the command line read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrialRecord:
    """One trial. `state` is complete, pruned, infeasible, duplicate, failed or running."""

    number: int
    state: str
    params: dict[str, Any]
    values: dict[str, float]  # gap, latency_ms, size_mb; empty unless complete
    constraints: dict[str, float]
    attributes: dict[str, Any]  # flat scalars: retention, compression, speedup, params, macs, ...
    spec_hash: str
    folder: str  # model folder and samples.png, "" where none was made
    reason: str = ""
    started: str = ""  # ISO 8601, UTC
    seconds: float = 0.0

    @property
    def feasible(self) -> bool:
        """Whether every constraint is met."""
        return all(v <= 0 for v in self.constraints.values())


@dataclass(frozen=True)
class StudyRecord:
    """One study, whole, as it stood when it was read."""

    name: str
    config: dict[str, Any]
    trials: tuple[TrialRecord, ...]
    front: tuple[int, ...]  # numbers of the feasible, non-dominated complete trials, by latency
    best: int | None  # the front member that is picked
    reference: dict[str, Any]
    training_free: tuple[dict[str, Any], ...]
    environment: dict[str, Any]
    digests: dict[str, str]
    hypervolume: float
    reference_point: tuple[float, float, float]  # log gap + floor, log ms, log MB
    seconds: dict[str, float] = field(default_factory=dict)
    remeasured: dict[int, dict[str, Any]] = field(default_factory=dict)  # by trial number
    left_out: tuple[str, ...] = ()  # what the device took from the space, in sentences
    id: str = ""  # tells two studies of one name apart, should the first be deleted

    def trial(self, number: int) -> TrialRecord:
        """The trial of that number.

        Raises:
            KeyError: no such trial.
        """
        for trial in self.trials:
            if trial.number == number:
                return trial
        raise KeyError(number)

    @property
    def states(self) -> dict[str, int]:
        """How many trials ended in which state."""
        names = ("complete", "pruned", "infeasible", "duplicate", "failed")
        return {n: sum(t.state == n for t in self.trials) for n in names}

    @property
    def trained(self) -> int:
        """How many candidates trained: what ``--trials`` counts."""
        return self.states["complete"] + self.states["pruned"]


def load(storage: str, name: str, workspace: Path | None = None) -> StudyRecord:
    """Read a study.

    Args:
        storage: its URL.
        name: of the study.
        workspace: where its folders lie; None is the working directory.

    Returns:
        The study as it stands.

    Raises:
        StudyError: the storage does not answer or has no such study; names the nearest.
    """
    from studies.history import read_study  # who only reads a record needs no Optuna

    return read_study(storage, name, workspace or Path())
