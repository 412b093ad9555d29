"""One study as a process has it open: its settings, storage, facts and folders."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ado_nas.hardware import Hardware
from ado_nas.specs import Candidate, TaskSpec, from_dict
from search_spaces.candidate import build
from search_spaces.hardware import narrowed
from search_spaces.space import Space
from studies.artifacts import ArtifactStore, open_artifacts
from studies.axes import METRICS, Point, reference_point
from studies.config import SearchConfig
from studies.identity import completed, refuse_changes, settings, surroundings
from studies.ledger import hashes
from studies.patience import through_outages
from studies.samplers import DistinctSampler, make_sampler
from studies.storage import Store, open_store, storage_url

MINIMIZE = StudyDirection.MINIMIZE


@dataclass(frozen=True)
class Session:
    """An open study."""

    config: SearchConfig
    workspace: Path
    store: Store
    study: optuna.Study
    joined: bool = False  # by a worker in a workspace that is not the search's

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Where the files of this study are kept."""
        return open_artifacts(self.config.artifacts, self.workspace)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the preparation found; see `objectives.scores.EvaluationModule`."""
        facts: dict[str, Any] = self.study.user_attrs["facts"]
        return facts

    @cached_property
    def task(self) -> TaskSpec:
        """The task, with what only the data could tell (channels, classes) filled in."""
        return from_dict(TaskSpec, self.facts.get("task", {}), self.config.task)

    @cached_property
    def space(self) -> Space:
        """The configured space, without what the device of this study makes expensive."""
        return fitting(self.config.space, self.facts)[0]

    @property
    def floor(self) -> float:
        """What the measure of quality cannot resolve; at least a trace, for the logarithm."""
        return max(float(self.facts["reference"]["floor"]), 1e-9)

    @property
    def reference_point(self) -> Point:
        """The corner of the hypervolume."""
        reference = {**self.facts["reference"], "floor": self.floor}
        return reference_point(reference, self.config.limits.min_retention)

    def keep(self, name: str, change: Callable[[Any], Any]) -> None:
        """Change an attribute of the study, which another search may be changing as well.

        Args:
            name: of the attribute.
            change: takes its value, None where it has none, and returns the next one.
        """
        with self.store.lock(self.config.study):
            self.study.set_user_attr(name, change(self.study.user_attrs.get(name)))

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials as they stand, of these states or of all; not to be changed."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def candidate(self, params: dict[str, Any]) -> Candidate:
        """The candidate of these choices."""
        base = self.task.teacher.unet
        return build(self.space, params, base, self.config.distillation)


def open_session(
    config: SearchConfig,
    workspace: Path,
    worker: int = 0,
    joined: bool = False,
    patient: bool = False,
) -> Session:
    """Open a study, made where it does not exist.

    Args:
        config: checked.
        workspace: absolute and writable.
        worker: number of the process, for its own random draws.
        joined: whether the workspace is not the search's.
        patient: whether to wait where the storage is away: it was there when this process, one
            of many, was started.

    Returns:
        The session; its facts are there once the study is prepared.

    Raises:
        StudyError: the storage does not answer, or the study was made with other settings.
    """
    url = storage_url(config.storage, workspace)
    store = through_outages(lambda: open_store(url)) if patient else open_store(url)
    try:
        with store.lock(config.study):
            study = optuna.create_study(
                storage=store.storage,
                study_name=config.study,
                directions=[MINIMIZE] * len(METRICS),
                load_if_exists=True,
            )
            _identify(store, study, config)
    except BaseException:
        store.close()
        raise
    session = Session(config, workspace, store, study, joined)
    study.sampler = _sampler(session, worker)
    return session


def fitting(space: Space, facts: dict[str, Any]) -> tuple[Space, tuple[str, ...]]:
    """A space as the device of a study allows it; as it is where the device is not known.

    The device is looked at once, when the study is prepared: its free memory changes by the hour.

    Args:
        space: as configured.
        facts: of the study.

    Returns:
        The space, and a sentence on each thing left out or moved.
    """
    if "hardware" not in facts:
        return space, ()
    return narrowed(space, from_dict(Hardware, facts["hardware"]))


def bind(session: Session, facts: dict[str, Any]) -> None:
    """Keep what the preparation found, or compare it with what the study was made with.

    Args:
        session: of the study.
        facts: plain JSON.

    Raises:
        StudyError: device, data, teacher, trajectories or features differ, or the settings do:
            somebody else began to prepare the study meanwhile.
    """
    name = session.config.study
    with session.store.lock(name):
        attributes, taken = session.study.user_attrs, _taken(session.store)
        refuse_changes(name, completed(attributes["settings"]), settings(session.config), taken)
        if "facts" in attributes:
            refuse_changes(name, surroundings(attributes["facts"]), surroundings(facts), taken)
            return
        session.study.set_user_attr("facts", facts)
        session.study.set_user_attr("reference_point", list(session.reference_point))


def _identify(store: Store, study: optuna.Study, config: SearchConfig) -> None:
    """Write the settings into a study that is not prepared yet, or compare them with its own."""
    now, known = settings(config), study.user_attrs
    if "facts" in known:
        refuse_changes(config.study, completed(known["settings"]), now, _taken(store))
        return
    if "id" not in known:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # names appear in the dashboard
            study.set_metric_names(list(METRICS))
        study.set_user_attr("id", secrets.token_hex(8))
    if known.get("settings") != now:
        study.set_user_attr("settings", now)


def _sampler(session: Session, worker: int) -> optuna.samplers.BaseSampler:
    config = session.config
    # Random states are not stored: a resumed study must not repeat its first draws.
    seed = config.seed * 1_000_003 + worker * 1_009 + len(session.trials())

    def hash_of(params: dict[str, Any]) -> str:
        return session.candidate(params).hash

    # The storage counts the points of qmc: every worker goes on in one and the same sequence.
    drawn = config.seed if config.sampler == "qmc" else seed
    base = make_sampler(config.sampler, drawn % 2**32, config.trials, config.startup)
    prepared = "facts" in session.study.user_attrs
    space = session.space if prepared else config.space  # nobody draws before
    return DistinctSampler(base, space, hashes, hash_of, seed)


def _taken(store: Store) -> list[str]:
    return optuna.get_all_study_names(storage=store.storage)
