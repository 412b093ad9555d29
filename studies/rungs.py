"""The rungs of a study: each trial writes how it stands, and reads how the others stood there.

Optuna keeps no intermediate values of trials with several objectives. They are a user attribute
of each trial instead, which workers of any machine write while it runs, and stay in its record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

from studies.axes import VALUES, axes
from studies.ledger import state
from studies.pruning import Entry, Rule, hopeless, rungs, verdict
from studies.session import Session

RUNGS = "rungs"  # the attribute: JSON text, a list of tables, one for each rung that was reached
RETENTION = ("retention", "retention_high")
LATENCY = "latency_ms"


class Climb:
    """One trial on its way up the rungs; `reason` says why it was stopped, if it was.

    Args:
        session: of this process.
        trial: the one that is evaluated.
    """

    def __init__(self, session: Session, trial: optuna.Trial) -> None:
        config = session.config
        self.reason = ""
        self.rungs: tuple[int, ...] = ()
        if config.pruner != "none":
            total = config.distillation.iterations
            self.rungs = rungs(total, config.grace, config.factor)
        self._session = session
        self._trial = trial
        self._reached: list[dict[str, float]] = []

    def stops(self, iteration: int, scores: Mapping[str, float]) -> bool:
        """Write how the trial stands and compare it with the others.

        Args:
            iteration: the rung.
            scores: gap, latency_ms and size_mb, retention and retention_high; without a gap
                nothing is compared, and without a latency, as another device cannot tell it,
                only the least retention stops.

        Returns:
            Whether it is to stop.
        """
        if iteration not in self.rungs or "gap" not in scores:
            return False
        names = [name for name in (*VALUES, *RETENTION) if name in scores]
        own = {"iteration": iteration, **{name: scores[name] for name in names}}
        self._reached.append(own)
        # Written before the others are read: of two at one time at least one sees the other.
        self._trial.set_user_attr(RUNGS, json.dumps(self._reached))
        session = self._session
        others = entries(session.trials(), iteration, session.floor, but=self._trial.number)
        judge = verdict if LATENCY in own else hopeless
        found = judge(_entry(own, session.floor), list(others), rule(session))
        if found:
            self.reason = f"stopped after {iteration} iterations: {found}"
        return bool(found)


def rule(session: Session) -> Rule:
    """What a trial of this study must be to go on."""
    _, latency, size = session.reference_point
    config = session.config
    return Rule(config.factor, config.limits.min_retention, latency, size)


def entries(
    trials: Iterable[FrozenTrial], iteration: int, floor: float, but: int = -1
) -> Iterator[Entry]:
    """How trials stood at a rung.

    Args:
        trials: of a study; what was put back, failed, or is a copy does not count.
        iteration: the rung.
        floor: of the gap.
        but: the number of one that is left out.

    Yields:
        An entry for each that reached it.
    """
    for trial in trials:
        text = trial.user_attrs.get(RUNGS)
        if text is None or trial.number == but or trial.state == TrialState.FAIL:
            continue
        if state(trial) == "duplicate":
            continue
        for found in json.loads(text):
            if found["iteration"] == iteration:
                latency = found.get(LATENCY, trial.user_attrs.get(LATENCY))
                if latency is None:
                    continue  # trains on another device, and is still to be timed
                final = trial.user_attrs.get("retention") if state(trial) == "complete" else None
                yield _entry({**found, LATENCY: latency}, floor, final)


def _entry(found: Mapping[str, float], floor: float, final: float | None = None) -> Entry:
    now, high = (found[name] for name in RETENTION)
    return Entry(axes({LATENCY: math.inf, **found}, floor), now, high, final)
