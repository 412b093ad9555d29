from __future__ import annotations

import math
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from studies.bulk import BulkDatabase
from studies.storage import storage_url


def test_trials_read_at_once_are_those_that_optuna_reads(storage: str, tmp_path: Path) -> None:
    url = storage_url(storage, tmp_path)
    slow, fast = RDBStorage(url), BulkDatabase(url)
    study = optuna.create_study(storage=slow, study_name="a", directions=["minimize"] * 2)
    other = optuna.create_study(storage=slow, study_name="b")
    other.tell(other.ask(), 1.0)
    assert fast._get_trials(study._study_id, None, set(), -1) == []
    spaces = {"b": CategoricalDistribution(("x", "y")), "a": FloatDistribution(0.1, 2.0)}
    for values in ([1.5, -2.0], [math.inf, -math.inf], None):
        trial = study.ask(spaces)
        trial.set_user_attr("text", "é")
        trial.set_user_attr("nested", {"x": [1, None]})
        trial.set_constraint("size", -0.5)
        study.tell(trial, values, state=None if values else TrialState.PRUNED)
    study.tell(study.ask(), state=TrialState.FAIL)
    study.enqueue_trial({"b": "y"}, user_attrs={"anchor": True})
    study.enqueue_trial({"b": "x"})
    study.ask(spaces)
    wanted = slow._get_trials(study._study_id, None, set(), -1)
    assert {t.state.name for t in wanted} == {"COMPLETE", "PRUNED", "FAIL", "WAITING", "RUNNING"}
    assert fast._get_trials(study._study_id, None, set(), -1) == wanted
    assert fast._get_trials(study._study_id, (TrialState.FAIL,), set(), -1) == [wanted[3]]
    assert fast._get_trials(study._study_id, None, {2}, 4) == slow._get_trials(
        study._study_id, None, {2}, 4
    )
    assert [list(t.params) for t in wanted] == [
        list(t.params) for t in fast._get_trials(study._study_id, None, set(), -1)
    ]
    for opened in (slow, fast):
        opened.remove_session()
        opened.engine.dispose()


def test_intermediate_values_are_read_by_optuna(storage: str, tmp_path: Path) -> None:
    url = storage_url(storage, tmp_path)
    fast = BulkDatabase(url)
    study = optuna.create_study(storage=fast, study_name="a")
    trial = study.ask()
    trial.report(0.5, 3)
    study.tell(trial, 1.0)
    (found,) = fast._get_trials(study._study_id, None, set(), -1)
    assert found.intermediate_values == {3: 0.5}
    fast.remove_session()
    fast.engine.dispose()
