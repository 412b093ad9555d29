"""An earlier study's trials carried over into a new one, as far as the two agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from ado_nas.errors import ConfigError, StudyError, nearest
from ado_nas.progress import Progress
from ado_nas.specs import from_dict
from objectives.constraints import violations
from search_spaces.chooser import Choice
from search_spaces.space import DIMENSIONS, Space
from studies.config import SearchConfig
from studies.identity import settings, surroundings
from studies.ledger import CARRIED, SUGGESTED, TRAINED_FROM, state
from studies.pareto import front
from studies.samplers import FIRST_GENERATION
from studies.selection import knee, scaled, spread
from studies.session import Session, fitting
from studies.settlement import OWN
from studies.storage import storage_url, study_names

DONE = "warm_started"  # the study's attribute: what came from which study
SHARE = 3  # one in so many trials may try an earlier study's choices again
COUNTING = ("task.", "distillation.", "evaluator", "device.", "digest.")
"""Settings and surroundings that scores depend on, but for `_NAMED`."""
_NAMED = ("task.teacher_folder",)  # what lies there is compared by its digest


def check_source(config: SearchConfig, workspace: Path) -> None:
    """Refuse a study to start from that is not there, before anything is made.

    Args:
        config: of the search.
        workspace: absolute.

    Raises:
        ConfigError: it is the study itself.
        StudyError: the storage has no such study; names the nearest.
    """
    if not config.warm_start:
        return
    if config.warm_start == config.study:
        raise ConfigError(
            f"warm start from {config.study!r}, the study itself; name an earlier one, or search "
            "without --warm-start to resume"
        )
    names = study_names(storage_url(config.storage, workspace))
    if config.warm_start not in names:
        hint = nearest(config.warm_start, names) if names else "there is none in this storage"
        raise StudyError(f"warm start: no study {config.warm_start!r}; {hint}")


def carry_over(session: Session, progress: Progress) -> None:
    """Take over what an earlier study knows; once, and what came before a kill is not repeated.

    Where everything that scores depend on is equal, its scored trials become trials of this study
    and cost nothing of its budget. Of the others, the choices are tried again, best first.

    Args:
        session: prepared; its config names the study, or nothing is done.
        progress: gets ``warm start``: how many trials of how many, and a sentence.
    """
    name = session.config.warm_start
    if not name or name in session.study.user_attrs.get(DONE, {}):
        return
    with session.store.lock(session.config.study):
        source = optuna.load_study(
            study_name=name,
            storage=session.store.storage,
            sampler=optuna.samplers.RandomSampler(),
        )
        found = _carry(session, source)
        done = session.study.user_attrs.get(DONE, {})
        session.study.set_user_attr(DONE, {**done, name: found})
    progress("warm start", found["carried"], found["scored"], sentence(name, found))


def sentence(name: str, found: Mapping[str, Any]) -> str:
    """What was carried over, and why not the rest.

    Args:
        name: of the earlier study.
        found: carried, suggested and scored trials, what differs, and why trials were left.

    Returns:
        A sentence.
    """
    parts = [f"of {found['scored']} scored trials of {name}, {found['carried']} with their scores"]
    if found["differing"]:
        shown = ", ".join(found["differing"][:3])
        more = f" and {len(found['differing']) - 3} more" if len(found["differing"]) > 3 else ""
        parts[0] += f" (not the others: {shown}{more} differ)"
    parts.append(f"{found['suggested']} to be trained again")
    parts += [f"{count} not, for {why}" for why, count in found["left"].items()]
    return ", ".join(parts)


def translated(
    params: Mapping[str, Choice], old: Space, new: Space
) -> tuple[dict[str, Choice], str]:
    """The choices of one space in another.

    Args:
        params: of a trial in the old space.
        old: its fixed dimensions count as choices, too.
        new: where they are wanted.

    Returns:
        A choice for each dimension of the new space, and an empty text; or an incomplete choice,
        and the dimension with the choice that the new space lacks.
    """
    found: dict[str, Choice] = {}
    for name in DIMENSIONS:
        before, choices = getattr(old, name), getattr(new, name)
        # What a trial was not asked for does not matter to its candidate.
        value = params.get(name, before[0] if len(before) == 1 else choices[0])
        if value not in choices:
            return found, f"{name} {value}"
        if len(choices) > 1:
            found[name] = value
    return found, ""


def differences(session: Session, attributes: Mapping[str, Any]) -> list[str]:
    """What scores depend on and is not as it was.

    Args:
        session: prepared.
        attributes: of the earlier study.

    Returns:
        Dotted names, sorted; empty where its scores can be used as they are.
    """
    before = {**attributes.get("settings", {}), **surroundings(attributes.get("facts", {}))}
    now = {**settings(session.config), **surroundings(session.facts)}
    for known, facts in ((before, attributes.get("facts", {})), (now, session.facts)):
        known["device.step_ms"] = facts.get("reference", {}).get("step_ms")  # unit of latencies
    names = (k for k in {*before, *now} if k.startswith(COUNTING) and k not in _NAMED)
    return sorted(k for k in names if before.get(k) != now.get(k))


def best_first(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Scored trials, front by front; within a front the knee first, then far from those before.

    Args:
        trials: complete, of one study.

    Returns:
        The same, in that order; those over a limit last.
    """
    order: list[FrozenTrial] = []
    feasible = [max(t.constraints.values(), default=0.0) <= 0 for t in trials]
    for wanted in (True, False):
        left = [t for t, met in zip(trials, feasible, strict=True) if met is wanted]
        while left:
            values = np.array([t.values for t in left], dtype=np.float64)
            kept = front(values)
            members = [t for t, k in zip(left, kept, strict=True) if k]
            left = [t for t, k in zip(left, kept, strict=True) if not k]
            points = scaled(values[kept])
            order += [members[i] for i in spread(points, [knee(points)])]
    return order


def _carry(session: Session, source: optuna.Study) -> dict[str, Any]:
    """Carry over all that can be; the counts."""
    attributes = source.user_attrs
    scored = [t for t in source.get_trials(deepcopy=False) if state(t) == "complete"]
    space = from_dict(Space, attributes.get("config", {}).get("space", {}))
    old = fitting(space, attributes.get("facts", {}))[0]
    differing = differences(session, attributes) if scored else []
    seed = int(attributes.get("config", {}).get("seed", 0))
    before = {t.user_attrs.get(CARRIED) for t in session.trials()}
    counts, left = Counter[str](), Counter[str]()
    for trial in best_first(scored):
        params, lacking = translated(trial.params, old, session.space)
        label = f"{source.study_name}:{trial.number}"
        if lacking:
            left[f"{lacking}, which this space lacks"] += 1
        elif not differing and _reusable(session, trial, params):
            counts["carried"] += 1
            if label not in before:
                session.study.add_trial(_finished(session, trial, params, label, seed))
        elif counts["suggested"] < max(1, session.config.trials // SHARE):
            counts["suggested"] += 1
            marks = {SUGGESTED: label}
            session.study.enqueue_trial(params, user_attrs=marks, skip_if_exists=True)
        else:
            left[f"more than one in {SHARE} of the trials wanted would be theirs"] += 1
    numbers = {name: counts[name] for name in ("carried", "suggested")}
    return {"scored": len(scored), **numbers, "differing": differing, "left": dict(left)}


def _reusable(session: Session, trial: FrozenTrial, params: dict[str, Choice]) -> bool:
    """Whether the same choices still make the same candidate, and its model lies here."""
    folder = trial.user_attrs.get("folder", "")
    same = session.candidate(params).hash == trial.user_attrs.get("spec_hash")
    return same and bool(folder) and (session.workspace / folder).is_dir()


def _finished(
    session: Session, trial: FrozenTrial, params: dict[str, Choice], label: str, seed: int
) -> FrozenTrial:
    attributes = {TRAINED_FROM: seed}
    attributes |= {k: v for k, v in trial.user_attrs.items() if k not in OWN}
    # Its model stays where it is, and is mended from the same store.
    files = {k: v for k, v in trial.system_attrs.items() if k.startswith(ARTIFACTS_ATTR_PREFIX)}
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE,
        values=trial.values,
        params=params,
        distributions={n: CategoricalDistribution(getattr(session.space, n)) for n in params},
        user_attrs={**attributes, CARRIED: label},
        system_attrs={**FIRST_GENERATION, **files},
        constraints=violations(session.config.limits, trial.user_attrs),
    )
