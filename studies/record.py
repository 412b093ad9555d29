"""A study as frozen plain data: what reports, exports and the command line read."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrialRecord:
    """One trial. `state` is complete, pruned, infeasible, duplicate, failed or running."""

    number: int
    state: str
    params: dict[str, Any]
    values: dict[str, float]  # gap, latency_ms, size_mb; all three where complete
    constraints: dict[str, float]
    attributes: dict[str, Any]  # flat scalars: retention, compression, speedup, params, macs, ...
    spec_hash: str
    folder: str  # model folder and samples.png, "" where none was made
    reason: str = ""
    started: str = ""  # ISO 8601, UTC
    seconds: float = 0.0

    @property
    def carried(self) -> bool:
        """Whether an earlier study scored it: ``from`` in its attributes says which trial."""
        return "from" in self.attributes

    @property
    def feasible(self) -> bool:
        """Whether every constraint is met."""
        return all(v <= 0 for v in self.constraints.values())


@dataclass(frozen=True)
class Finalist:
    """A front member that was trained again from other seeds, and measured on other noise.

    `seeds` has a row for each training that has ended: seed, state, reason, folder, repeated, and
    the figures of a scored one. `figures` are over the scored ones; empty where there is none.
    `repeated` is None where one failed by a bug or crash, so that nobody can tell.
    """

    number: int
    seeds: tuple[dict[str, Any], ...]
    figures: dict[str, Any]  # gap, retention, latency_ms and the intervals of the first two
    repeated: bool | None

    @property
    def repeats(self) -> int:
        """How many trainings repeated what the search found."""
        return sum(bool(row["repeated"]) for row in self.seeds)


@dataclass(frozen=True)
class StudyRecord:
    """One study, whole, as it stood when it was read."""

    name: str
    config: dict[str, Any]
    trials: tuple[TrialRecord, ...]  # by number
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
    finalists: tuple[Finalist, ...] = ()  # of the front, whose trainings have all ended
    dominated: tuple[int, ...] = ()  # of the front, by its final figures; see `again`
    left_out: tuple[str, ...] = ()  # what the device took from the space, in sentences
    id: str = ""  # tells two studies of one name apart, should the first be deleted

    def trial(self, number: int) -> TrialRecord:
        """The trial of that number.

        Raises:
            KeyError: no such trial.
        """
        place = bisect.bisect_left(self.trials, number, key=lambda t: t.number)
        if place < len(self.trials) and self.trials[place].number == number:
            return self.trials[place]
        raise KeyError(number)

    def again(self, number: int) -> dict[str, Any]:
        """What later measurements found of a trial; empty where there were none.

        Args:
            number: of the trial.

        Returns:
            A finalist's figures over its seeds, else those of the model that the search left.
        """
        for finalist in self.finalists:
            if finalist.number == number:
                own = finalist.figures or self.remeasured.get(number, {})
                return {**own, "repeated": finalist.repeated}
        return self.remeasured.get(number, {})

    @property
    def states(self) -> dict[str, int]:
        """How many trials ended in which state; ``carried`` where some came from another."""
        names = ("complete", "pruned", "infeasible", "duplicate", "failed")
        carried = sum(t.carried for t in self.trials)
        own = {n: sum(t.state == n and not t.carried for t in self.trials) for n in names}
        return {**own, "carried": carried} if carried else own

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
