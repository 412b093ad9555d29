"""Model folders of trials that other machines trained, brought to the search's own disk."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from optuna import Trial
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState

from ado_nas.errors import StudyError
from ado_nas.files import read_json, sha256
from studies.artifacts import fetch
from studies.folders import trial_folder
from studies.session import Session
from studies.settlement import JOINED

WEIGHTS, CARD = "model.safetensors", "card.json"

_log = logging.getLogger(__name__)


def collect(session: Session) -> list[int]:
    """Fetch the folders of finished trials that were made elsewhere and are not here yet.

    Args:
        session: of the search.

    Returns:
        The numbers of the trials that were fetched.
    """
    fetched = []
    for trial in session.trials(TrialState.COMPLETE):
        marks = trial.user_attrs
        # A duplicate names the folder of another trial.
        if not marks.get(JOINED) or marks.get("state") != "complete" or not marks.get("folder"):
            continue
        if not _folder(session, trial).exists():
            try:
                fetch_folder(session, trial)
                fetched.append(trial.number)
            except StudyError as error:  # it is tried again, and measuring it again says so
                _log.info("trial %d: %s", trial.number, error)
    return fetched


def restore(session: Session, number: int) -> bool:
    """Fetch the weights of a trial again where those on disk are not what its card says.

    Args:
        session: of the search.
        number: of the trial.

    Returns:
        Whether they were damaged.
    """
    trial = session.trials()[number]
    folder = _folder(session, trial)
    wanted = (read_json(folder / CARD) or {}).get("weights_sha256", "")
    if not wanted or ((folder / WEIGHTS).is_file() and sha256(folder / WEIGHTS) == wanted):
        return False
    _log.warning("trial %d: its weights are damaged; they are fetched again", number)
    for meta in get_all_artifact_meta(trial, storage=session.study._storage):
        if meta.filename == WEIGHTS:
            fetch(session.artifacts, meta.artifact_id, folder / WEIGHTS, wanted)
    return True


def fetch_folder(session: Session, trial: Trial | FrozenTrial) -> Path:
    """Fetch all files of a trial.

    Args:
        session: of this process.
        trial: its files are in the study's artifact store.

    Returns:
        Its folder, whole.

    Raises:
        StudyError: the store lacks a file.
    """
    folder = trial_folder(session.workspace, session.config.study, trial.number)
    partial = folder.with_name(f".{folder.name}")
    for meta in get_all_artifact_meta(trial, storage=session.study._storage):
        fetch(session.artifacts, meta.artifact_id, partial / Path(meta.filename).name)
    if not partial.exists():
        raise StudyError(f"trial {trial.number} has no files in the artifact store")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def _folder(session: Session, trial: FrozenTrial) -> Path:
    return session.workspace / str(trial.user_attrs.get("folder", ""))
