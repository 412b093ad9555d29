from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from studies.record import StudyRecord, TrialRecord
from studies.tracking import mirror, tracking_uri

STATES = ["complete", "pruned", "infeasible", "duplicate", "failed", "requeued", "running"]


def trial(number: int, state: str, **changes: Any) -> TrialRecord:
    record = TrialRecord(
        number=number,
        state=state,
        params={"steps": 2, "widths": "8-16"},
        values={"gap": 1.5, "latency_ms": 3.0, "size_mb": 0.2} if state == "complete" else {},
        constraints={"latency": -0.5},
        attributes={"retention": 0.9, "solver": "ddim", "odd|name": 1, "none": None},
        spec_hash=f"hash{number}",
        folder="",
        reason="because" if state == "failed" else "",
        started="2026-01-01T00:00:00+00:00",
        seconds=2.5,
    )
    return dataclasses.replace(record, **changes)


def study(*trials: TrialRecord, study_id: str = "a") -> StudyRecord:
    return StudyRecord(
        name="digits",
        config={"preset": "digits", "task": {"data": {"seed": 0}}},
        trials=trials,
        front=(0,),
        best=0,
        reference={},
        training_free=(),
        environment={},
        digests={"data": "d1"},
        hypervolume=4.5,
        reference_point=(0.0, 0.0, 0.0),
        id=study_id,
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")  # MLflow takes seconds to make a database


def sync(record: StudyRecord, workspace: Path) -> int:
    with mirror(record, workspace) as opened:
        if opened is None:
            return 0
        written = opened.log(record.trials)
        opened.summarize(record)
        return written


def runs(workspace: Path, study_id: str) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri(workspace))
    experiment = client.get_experiment_by_name("ado-nas/digits")
    assert experiment is not None
    query = f"tags.`ado.study_id` = '{study_id}'"
    found = client.search_runs([experiment.experiment_id], query)
    tags = [r.data.tags["ado.trial"] for r in found]
    assert len(tags) == len(set(tags))
    return dict(zip(tags, found, strict=True))


def test_mirror_has_a_parent_and_a_child_for_each_ended_trial(workspace: Path) -> None:
    record = study(*(trial(i, s) for i, s in enumerate(STATES)))
    assert sync(record, workspace) == 6
    found = runs(workspace, "a")
    parent = found.pop("study")
    assert set(found) == set("012345")
    wanted = ["FINISHED", "KILLED", "KILLED", "FINISHED", "FAILED", "KILLED"]
    assert [found[str(i)].info.status for i in range(6)] == wanted
    assert {r.data.tags["mlflow.parentRunId"] for r in found.values()} == {parent.info.run_id}
    assert parent.data.metrics["hypervolume"] == 4.5
    assert parent.data.params["task.data.seed"] == "0"
    first = found["0"]
    assert first.data.metrics["gap"] == 1.5
    assert first.data.metrics["violation_latency"] == -0.5
    assert first.data.params == {"steps": "2", "widths": "8-16"}
    assert first.data.tags["solver"] == "ddim"
    assert first.info.end_time - first.info.start_time == 2500
    assert found["4"].data.tags["reason"] == "because"


def test_mirror_writes_nothing_twice_when_synced_again(workspace: Path) -> None:
    record = study(trial(0, "complete"), trial(1, "pruned"), study_id="b")
    assert sync(record, workspace) == 2
    before = runs(workspace, "b")
    assert sync(record, workspace) == 0
    after = runs(workspace, "b")
    assert {k: r.info.run_id for k, r in before.items()} == {
        k: r.info.run_id for k, r in after.items()
    }
    longer = study(*record.trials, trial(2, "complete"), study_id="b")
    assert sync(longer, workspace) == 1


def test_mirror_finishes_a_run_that_was_left_open(workspace: Path) -> None:
    record = study(trial(0, "complete"), study_id="c")
    with mirror(record, workspace) as opened:
        assert opened is not None
        opened._create(record.trials[0], 0, {})  # as if killed before the batch
    assert runs(workspace, "c")["0"].info.status == "RUNNING"
    assert sync(record, workspace) == 1
    found = runs(workspace, "c")
    assert found["0"].info.status == "FINISHED"
    assert len(found) == 2


def test_mirror_is_left_to_the_process_that_has_it(workspace: Path) -> None:
    record = study(trial(0, "complete"), study_id="d")
    with mirror(record, workspace):
        assert sync(record, workspace) == 0


def test_mirror_keeps_a_second_study_of_one_name_apart(workspace: Path) -> None:
    sync(study(trial(0, "complete"), study_id="e"), workspace)
    assert sync(study(trial(0, "complete"), study_id="f"), workspace) == 1
    assert runs(workspace, "e")["0"].info.run_id != runs(workspace, "f")["0"].info.run_id
