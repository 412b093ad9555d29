"""What our dashboard adds to optuna-dashboard's: notes, figures, and what is over a limit.

The study's note and figures are saved in the study, where every dashboard shows them. The notes
of trials are added to each answer instead: optuna-dashboard keeps notes with the study, where
every poll and some samplers read all of them, and shows a later one only after a reload.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.exhibits import exhibits
from reports.measurements import VALUES
from reports.notes import study_note, trial_note
from studies.pareto import front
from studies.record import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from studies.storage import Store
    from studies.view import View

SECONDS = 10.0  # between two looks at whether a study's note and figures are still right
PATIENCE_SECONDS = 5.0  # that a page waits for the first of them
MARK = "ado:dashboard"  # of the study: when it was last written, and the note that was
VERSION, TEXT, FIGURES = "dashboard:note_ver", "dashboard:note_str:", "dashboard:plot_data:ado-"
_DETAIL = "/api/studies/<study_id:int>"
_log = logging.getLogger(__name__)


@dataclass
class Watched:
    """A study that somebody looks at: when to look whether it changed, and what it shows."""

    view: View
    due: float = 0.0
    told: StudyRecord | None = None

    def publish(self) -> None:
        """Bring the study's note and figures up to date."""
        self.told = publish(self.view, self.told)


class Annotator:
    """A plugin of Bottle that adds to the answers on one study; the others pass as they are."""

    name = "ado-annotator"
    api = 2

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watched: dict[tuple[int, str], Watched] = {}
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(max_workers=1)

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        """Wrap what answers; called by Bottle for each route."""
        if route.rule != _DETAIL or route.method != "GET":
            return callback

        def answer(study_id: int) -> Any:
            watched = self._guarded(self._watch, study_id)
            if watched is not None:
                self._refresh(watched)
            found = callback(study_id=study_id)
            if watched is not None and isinstance(found, dict) and "trials" in found:
                self._guarded(self._annotate, found, watched.view, study_id)
            return found

        return answer

    def _annotate(self, answer: dict[str, Any], view: View, study_id: int) -> None:
        told = {row["number"] for row in (*answer["trials"], *answer["best_trials"])}
        others = [n for n in view.last_record().front if n not in told]
        annotate(answer, view, self._rows(study_id, others) if others else [])

    def _rows(self, study_id: int, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Trials as optuna-dashboard tells them; a page that polls is told the latest alone."""
        from optuna_dashboard._serializer import serialize_frozen_trial

        storage = self._store.storage
        marks = storage.get_study_system_attrs(study_id)
        trials = storage.get_all_trials(study_id, deepcopy=False)
        return [serialize_frozen_trial(study_id, trials[n], marks) for n in numbers]

    def _watch(self, study_id: int) -> Watched | None:
        """The study, if a search of this project made it."""
        from studies.view import View

        marks = self._store.storage.get_study_user_attrs(study_id)
        if "settings" not in marks:
            return None
        key = study_id, str(marks.get("id", ""))  # numbers are given again after a deletion
        with self._lock:
            if key not in self._watched:
                self._watched[key] = Watched(View(self._store, study_id))
            return self._watched[key]

    def _refresh(self, watched: Watched) -> None:
        """Let the writer look at the study, unless it just did; wait for it the first time."""
        with self._lock:
            first, now = not watched.due, time.monotonic()
            if now < watched.due:
                return
            watched.due = now + SECONDS
        written: Future[Any] = self._writer.submit(self._guarded, watched.publish)
        if first:
            wait([written], PATIENCE_SECONDS)

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A page without our additions is better than none."""
        try:
            return call(*arguments)
        except Exception as error:
            if str(error) not in self._said:  # a page asks every few seconds
                self._said.add(str(error))
                _log.warning("the dashboard shows a study without notes and figures: %s", error)
            return None


def annotate(answer: dict[str, Any], view: View, others: Sequence[dict[str, Any]]) -> None:
    """Add notes of trials to what is told of a study, and which are over a limit or the best.

    Args:
        answer: of optuna-dashboard, changed in place.
        view: of the study.
        others: what it would tell of front members that are not in the answer.
    """
    record = view.last_record()
    shown = [*answer["trials"], *answer["best_trials"], *others]
    trials = view.trials(row["number"] for row in shown)
    for row in shown:
        trial = trials[row["number"]]
        # Optuna 5 keeps constraints where optuna-dashboard does not look.
        row["constraints"] = row["constraints"] or list(trial.constraints.values())
        if row["state"] not in ("Running", "Waiting") and row["note"]["version"] == 0:
            row["note"]["body"] = trial_note(record, trial, _image(row))
    answer["plotly_graph_objects"].sort(key=lambda figure: str(figure["id"]))
    answer["best_trials"] = _front(shown, trials)


def _front(
    shown: Sequence[dict[str, Any]], trials: Mapping[int, TrialRecord]
) -> list[dict[str, Any]]:
    """The rows within the limits that none of them dominates.

    In optuna-dashboard's own list trials over a limit dominate, too.
    """
    rows = {row["number"]: row for row in shown}
    able = [n for n in sorted(rows) if trials[n].state == "complete" and trials[n].feasible]
    points = [[trials[n].values[name] for name in VALUES] for n in able]
    kept = front(np.array(points, dtype=np.float64).reshape(-1, len(VALUES)))
    return [rows[n] for n, on in zip(able, kept, strict=True) if on]


def publish(view: View, told: StudyRecord | None = None) -> StudyRecord | None:
    """Save the study's note and figures in it where they are not what they should be.

    Args:
        view: of the study.
        told: what this returned the last time.

    Returns:
        The study that its note and figures show now; `told` where another dashboard wrote a
        moment ago.
    """
    with view.alone():
        record, present, now = view.record(), view.attributes(), time.time()
        if record is told or 0 <= now - present.get(MARK, {}).get("at", 0.0) < SECONDS:
            return told
        fresh = changes(present, stored(record))
        if fresh:
            view.write({**fresh, MARK: {**fresh[MARK], "at": now}})
        return record


def stored(record: StudyRecord) -> dict[str, Any]:
    """The study's note and figures as optuna-dashboard keeps them.

    Args:
        record: the study.

    Returns:
        System attributes of a study.
    """
    import optuna
    from optuna_dashboard import save_note, save_plotly_graph_object

    # Written into a study in memory first: so all can be compared and written at once.
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage)
    save_note(study, study_note(record))
    for name, figure in exhibits(record).items():
        save_plotly_graph_object(study, figure, graph_object_id=name)
    return storage.get_study_system_attrs(study._study_id)


def changes(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be written so that a study has our note and figures.

    Args:
        present: the study's system attributes.
        wanted: what `stored` found.

    Returns:
        Attributes that differ, with our mark. A note that somebody has edited is theirs and stays.
    """
    mark = present.get(MARK, {})
    ours = VERSION not in present or mark.get("note") == _digest(present)
    prefixes = (TEXT, FIGURES) if ours else (FIGURES,)
    texts = {k: v for k, v in wanted.items() if k.startswith(prefixes)}
    left = {k: "" for k in present if k.startswith(prefixes) and k not in texts}
    fresh = {k: v for k, v in (texts | left).items() if present.get(k, "") != v}
    if any(key.startswith(TEXT) for key in fresh):
        fresh[VERSION] = present.get(VERSION, 0) + 1
    note = _digest(wanted) if ours else mark.get("note")
    return {**fresh, MARK: {"note": note}} if fresh else {}


def _digest(attributes: Mapping[str, Any]) -> str:
    """Tells whether a note is the one that was written."""
    found = {k.removeprefix(TEXT): v for k, v in attributes.items() if k.startswith(TEXT)}
    text = "".join(found[n] for n in sorted(found, key=int))
    return hashlib.sha256(text.encode()).hexdigest()


def _image(row: Mapping[str, Any]) -> str:
    """The address of a trial's sample grid in the dashboard; empty where it has none."""
    for artifact in row["artifacts"]:
        if artifact["filename"] == "samples.png":
            return f"/artifacts/{row['study_id']}/{row['trial_id']}/{artifact['artifact_id']}"
    return ""
