"""A worker of another machine: it joins a study that runs, with what the study's own made."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections import Counter
from pathlib import Path

import optuna

from ado_nas.errors import SpecError, StudyError, nearest
from ado_nas.progress import Progress
from ado_nas.specs import from_dict
from studies.config import SearchConfig
from studies.evaluation import run_survey
from studies.folders import open_workspace
from studies.gaussian import check_installed
from studies.home import own_folder
from studies.identity import surroundings
from studies.parts import PLACE, pull, require_parts, unprepared
from studies.processes import call
from studies.session import Session, open_session
from studies.storage import open_store, storage_url, study_names
from studies.supervisor import supervise

WORKERS = 1_000_000  # numbers that a joined worker's random draws start from


@dataclasses.dataclass(frozen=True)
class Joining:
    """How to join. `artifacts` is empty for where the study says they are."""

    study: str
    storage: str = ""
    artifacts: str = ""
    workers: int = 0  # 0: what trains best on this machine
    train_only: bool = False


def join(joining: Joining, workspace: Path, progress: Progress) -> Counter[str]:
    """Work on a study until it wants no more.

    Args:
        joining: which study, and how.
        workspace: a folder of this machine; made where it is missing.
        progress: gets ``trials``.

    Returns:
        How many trials ended here, by state.

    Raises:
        StudyError: there is no such study, it is not prepared, its device is another one, or what
            it was made with is not to be had or damaged.
        ConfigError: its sampler needs an extra that is not installed.
        KeyboardInterrupt: the user stopped it; its trials are back in the queue.
    """
    workspace = open_workspace(workspace)
    config = _config(joining, workspace)
    if config.sampler == "gp":
        check_installed()
    session = open_session(config, workspace, joined=True)
    with contextlib.closing(session.store):
        require_parts(session)
        if not joining.train_only:
            _refuse_device(session, progress)
        pull(session)
        own_folder(session)
        first = secrets.randbelow(WORKERS)
        timed = not joining.train_only
        return supervise(session, progress, lambda: None, timed, first)


def _config(joining: Joining, workspace: Path) -> SearchConfig:
    """The study's own settings, with the places of this machine."""
    url = storage_url(joining.storage, workspace)
    names = study_names(url)
    if joining.study not in names:
        hint = nearest(joining.study, names) if names else "there is none; check --storage"
        raise StudyError(f"no study {joining.study!r} in this storage; {hint}")
    with contextlib.closing(open_store(url)) as store:
        sampler = optuna.samplers.RandomSampler()  # draws nothing
        study = optuna.load_study(study_name=joining.study, storage=store.storage, sampler=sampler)
        attributes = study.user_attrs
    if "config" not in attributes:
        raise unprepared(joining.study)
    try:
        config = from_dict(SearchConfig, attributes["config"])
    except SpecError as error:
        raise StudyError(
            f"study {joining.study!r} was made by another version ({error}); use that one here"
        ) from error
    return dataclasses.replace(
        config,
        study=joining.study,
        storage=joining.storage,
        artifacts=joining.artifacts or attributes.get(PLACE, ""),
        workers=joining.workers,
        timeout_s=0.0,  # of the search's own run
        track=False,
    )


def _refuse_device(session: Session, progress: Progress) -> None:
    """Refuse a device whose latencies do not compare with the study's."""
    found = call(run_survey, session.config.evaluator, progress=progress)
    here = surroundings({"environment": found})
    there = surroundings({"environment": session.facts.get("environment", {})})
    differing = sorted(k for k in {*here, *there} if here.get(k) != there.get(k))
    if differing:
        told = "; ".join(f"{k} is {here.get(k)!r}, there {there.get(k)!r}" for k in differing[:3])
        raise StudyError(
            f"this device is not that of study {session.config.study!r} ({told}), and latencies "
            "would not compare; join with --train-only"
        )
