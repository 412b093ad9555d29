"""What a study has come to: the state of each trial, what is known, and whether more is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

TRAINED = ("complete", "pruned")
CARRIED = "from"  # marks a trial of an earlier study, scored there: STUDY:NUMBER
TRAINED_FROM = "trained_from_seed"  # of such a trial, as its study had it
SUGGESTED = "suggested_by"  # marks one that tries the choices of such a trial again
REQUEUED = "requeued"  # marks a trial that was put back, for another to evaluate its candidate
RETRY = "retry_of"  # marks a trial that tries the candidate of that one again
DUPLICATES = 5  # in a row, each after many redraws: the space has nothing new


def state(trial: FrozenTrial) -> str:
    """The state as people see it; Optuna's PRUNED also holds infeasible trials and duplicates.

    Args:
        trial: of Optuna.

    Returns:
        complete, pruned, infeasible, duplicate, failed, requeued, running or waiting.
    """
    if REQUEUED in trial.user_attrs:
        return REQUEUED
    if trial.state in (TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL):
        return {"RUNNING": "running", "WAITING": "waiting", "FAIL": "failed"}[trial.state.name]
    return str(trial.user_attrs.get("state", trial.state.name.lower()))


def hashes(trials: Iterable[FrozenTrial], but: int = -1) -> set[str]:
    """The candidates that were tried or are being tried, without trial `but`."""
    return {
        str(t.user_attrs["spec_hash"])
        for t in trials
        if "spec_hash" in t.user_attrs and t.number != but and REQUEUED not in t.user_attrs
    }


def original(trials: Iterable[FrozenTrial], spec_hash: str, but: int) -> FrozenTrial | None:
    """The trial that scored this candidate, or is scoring it; None where it is new."""
    for trial in trials:
        known = trial.user_attrs.get("spec_hash") == spec_hash and trial.number != but
        if known and state(trial) not in ("failed", REQUEUED, "waiting", "duplicate"):
            return trial
    return None


@dataclass(frozen=True)
class Standing:
    """How far a study is.

    `infeasible` counts the draws over a limit since a candidate last trained, `duplicates` those
    that were known since something new was drawn, `retries` the candidates that were put back.
    """

    trained: int
    running: int
    infeasible: int
    duplicates: int
    failed: int
    retries: int = 0

    def done(self, wanted: int, patience: int) -> bool:
        """Whether nothing more is to be evaluated."""
        if self.trained >= wanted:
            return True
        barren = self.infeasible >= patience or self.duplicates >= DUPLICATES
        return barren and not self.retries

    def full(self, wanted: int) -> bool:
        """Whether those that run may complete the number that is wanted."""
        return self.trained + self.running >= wanted


def standing(trials: Sequence[FrozenTrial]) -> Standing:
    """How far a study is; what was carried over from another costs nothing.

    Args:
        trials: all of it, by number.

    Returns:
        The counts.
    """
    own = (t for t in trials if not {REQUEUED, CARRIED} & t.user_attrs.keys())
    states = [state(t) for t in own]
    ended = [s for s in states if s not in ("running", "waiting")]
    since = _after_last(ended, TRAINED)
    return Standing(
        trained=sum(s in TRAINED for s in states),
        running=states.count("running"),
        infeasible=since.count("infeasible"),
        duplicates=_after_last(ended, (*TRAINED, "infeasible", "failed")).count("duplicate"),
        failed=_after_last(ended, (*TRAINED, "infeasible", "duplicate")).count("failed"),
        retries=sum(state(t) == "waiting" and RETRY in t.user_attrs for t in trials),
    )


def _after_last(states: list[str], kinds: tuple[str, ...]) -> list[str]:
    last = max((i for i, s in enumerate(states) if s in kinds), default=-1)
    return states[last + 1 :]
