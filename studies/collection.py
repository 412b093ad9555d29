"""Model folders of trials that are not on the search's own disk, brought there."""

from __future__ import annotations

import logging
from pathlib import Path

from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState

from ado_nas.errors import ArtifactError, StudyError
from ado_nas.files import read_json, sha256
from studies.artifacts import fetch
from studies.folders import trial_folder
from studies.ledger import CARRIED
from studies.session import Session

WEIGHTS, CARD = "model.safetensors", "card.json"

_log = logging.getLogger(__name__)


def collect(session: Session) -> list[int]:
    """Fetch the folders of finished trials that are not here: made elsewhere, or lost.

    Args:
        session: of the search.

    Returns:
        The numbers of the trials that were fetched.
    """
    fetched = []
    for trial in session.trials(TrialState.COMPLETE):
        marks = trial.user_attrs
        # A duplicate and one that was carried over name the folder of another trial.
        own = marks.get("state") == "complete" and CARRIED not in marks
        if not own or not marks.get("folder"):
            continue
        if not (_folder(session, trial) / CARD).exists():
            try:
                _fetch_lost(session, trial, patient=False)  # workers are to be looked after
                fetched.append(trial.number)
            except StudyError as error:  # it is tried again, and measuring it again says so
                _log.info("trial %d: %s", trial.number, error)
    return fetched


def restore(session: Session, number: int) -> bool:
    """Fetch what is missing or damaged of a trial's model folder.

    Args:
        session: of this process.
        number: of the trial.

    Returns:
        Whether anything was.

    Raises:
        ArtifactError: the artifact store lacks it, too.
    """
    lost = _fetch_lost(session, session.trials()[number])
    if lost:
        _log.warning("trial %d: fetched again: %s", number, ", ".join(lost))
    return bool(lost)


def intact(folder: Path) -> bool:
    """Whether a model folder has a card and the weights that it names."""
    return sound(folder / CARD) and sound(folder / WEIGHTS)


def _fetch_lost(session: Session, trial: FrozenTrial, patient: bool = True) -> list[str]:
    """Fetch the files of a trial that are not sound here; returns their names."""
    folder, kept = _folder(session, trial), _kept(session, trial)
    # The card comes last, so that a folder with a card is whole.
    names = [*sorted({*kept, WEIGHTS} - {CARD}), CARD]
    lost = [name for name in names if not sound(folder / name)]
    for name in lost:
        if name not in kept:
            raise ArtifactError(
                f"trial {trial.number}: {name} is missing or damaged in {folder}, and the "
                "artifact store has none; give the study's own store with --artifacts"
            )
        fetch(session.artifacts, kept[name], folder / name, patient=patient)
    if lost and not intact(folder):
        raise ArtifactError(
            f"trial {trial.number}: its weights are damaged in {folder} and in the artifact store"
        )
    return lost


def _kept(session: Session, trial: FrozenTrial) -> dict[str, str]:
    """The artifacts of a trial, by the name of the file."""
    found = get_all_artifact_meta(trial, storage=session.study._storage)
    return {Path(meta.filename).name: meta.artifact_id for meta in found}


def sound(path: Path) -> bool:
    """Whether a file of a model folder is there and, as far as can be told, whole."""
    if path.suffix == ".json":
        return isinstance(read_json(path), dict)
    if path.name == WEIGHTS and path.is_file():
        card = read_json(path.with_name(CARD))
        return isinstance(card, dict) and card.get("weights_sha256") in (None, sha256(path))
    return path.is_file()


def _folder(session: Session, trial: FrozenTrial) -> Path:
    """A trial's folder; one that waits to be timed does not name it yet."""
    named = trial.user_attrs.get("folder")
    if named:
        return session.workspace / str(named)
    return trial_folder(session.workspace, session.config.study, trial.number)
