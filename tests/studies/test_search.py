"""Whole searches with spawned processes and the fake evaluator."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import optuna
import pytest

from ado_nas.errors import ConfigError, NegativeVerdict, StudyError, WorkspaceError
from ado_nas.progress import silent
from search_spaces.space import anchors
from studies.config import SearchConfig
from studies.folders import trial_folder
from studies.history import study_record
from studies.home import own_folder, settle_in
from studies.record import StudyRecord, TrialRecord
from studies.search import Tracker, _enqueue_anchors, _require_feasible, plan, search
from studies.session import Session, bind, open_session
from studies.tracking import mirror

Make = Callable[..., SearchConfig]
Faults = Callable[..., None]
TINY = {
    "widths": ["8-16", "16-32"], "blocks": ["1-1"], "attention": ["none"],
    "activation": ["relu"], "patch": [1], "steps": [1, 2], "schedule": ["dp"],
}  # fmt: skip


def evaluated(workspace: Path) -> Counter[str]:
    lines = (workspace / "evaluated.log").read_text().splitlines()
    return Counter(line.split()[0] for line in lines)


def test_search_goes_all_the_way_and_a_second_call_adds_nothing(
    make_config: Make, tmp_path: Path
) -> None:
    shown: list[tuple[object, ...]] = []
    reported: list[StudyRecord] = []
    config = make_config(trials=7, workers=2)
    record = search(config, tmp_path, lambda *a: shown.append(a), reported.append)
    assert record.trained == record.states["complete"] == 7
    assert set(evaluated(tmp_path).values()) == {1}
    assert set(record.remeasured) == set(record.front)
    assert record.best in record.front
    assert reported[0].trials == record.trials
    assert {"teacher", "trajectories", "search", "remeasure", "report"} <= set(record.seconds)
    assert ("trials", 7, 7) in [a[:3] for a in shown]
    assert (tmp_path / "studies" / "fake" / "config.toml").exists()

    again = search(config, tmp_path, silent)
    assert (again.trials, again.front, again.best) == (record.trials, record.front, record.best)
    assert sum(evaluated(tmp_path).values()) == 7

    more = search(make_config(trials=9), tmp_path, silent)
    assert more.trained == 9
    assert set(more.remeasured) >= set(more.front)


@pytest.mark.slow
def test_parent_of_a_search_imports_no_mlx(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from objectives.scores import Limits\n"
        "if __name__ == '__main__':\n"
        "    from studies.search import plan, search\n"
        "    from studies.config import SearchConfig\n"
        "    config = SearchConfig(study='a', evaluator='fake_evaluation', track=False)\n"
        "    config = replace(config, trials=1, finalists=1, limits=Limits(min_retention=0.0))\n"
        "    search(config, Path(sys.argv[1]), lambda *a: None)\n"
        "    print([m for m in sys.modules if m.partition('.')[0] == 'mlx'])\n"
    )
    (tmp_path / "parent.py").write_text(script)
    command: list[str | Path] = [
        sys.executable,
        "-W",
        "error",
        tmp_path / "parent.py",
        tmp_path / "w",
        *sys.path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.slow
def test_search_survives_workers_that_crash(
    make_config: Make, tmp_path: Path, faults: Faults
) -> None:
    faults(crash={"steps": 1, "widths": "8-16"})
    record = search(make_config(trials=3, space=TINY, workers=1), tmp_path, silent)
    assert record.trained == 3
    crashed = [t for t in record.trials if "exit code -9" in t.reason]
    # Tried again once, then given up.
    assert [t.state for t in crashed] == ["requeued", "pruned"]
    assert crashed[1].attributes["retry_of"] == crashed[0].number
    assert "exit code -9, 2 times" in crashed[1].reason
    assert set(evaluated(tmp_path).values()) == {1, 2}


def test_search_stops_with_the_traceback_when_everything_fails(
    make_config: Make, tmp_path: Path, faults: Faults
) -> None:
    faults(fail={})
    with pytest.raises(RuntimeError, match=r"(?s)[34] trials in a row failed.*ZeroDivisionError"):
        search(make_config(), tmp_path, silent)


def test_search_stops_when_the_evaluator_does_not_open(
    make_config: Make, tmp_path: Path, faults: Faults
) -> None:
    faults(closed=True)
    with pytest.raises(RuntimeError, match=r"(?s)broke.*does not open"):
        search(make_config(), tmp_path, silent)


def test_search_says_no_with_the_closest_when_nothing_fits(
    make_config: Make, tmp_path: Path
) -> None:
    config = make_config(patience=6, limits={"max_size_mb": 0.001}, space=TINY)
    with pytest.raises(NegativeVerdict) as caught:
        search(config, tmp_path, silent)
    assert "widths=8-16" in str(caught.value) and "has size over its limit by" in str(caught.value)
    assert caught.value.exit_code == 1


def test_budget_too_small_for_the_cheapest_candidate_is_said_before_anything_is_prepared(
    make_config: Make, tmp_path: Path
) -> None:
    config = make_config(task={"memory_budget_mb": 30.0}, space=TINY)
    with pytest.raises(
        NegativeVerdict, match=r"30 MB is too small for batch 1 .* or more"
    ) as said:
        search(config, tmp_path, lambda stage, *_: pytest.fail(stage))
    assert said.value.exit_code == 1


def test_what_was_stopped_early_is_not_called_the_closest() -> None:
    stopped = TrialRecord(0, "pruned", {"steps": 1}, {}, {"size": -0.5}, {}, "", "", "too slow")
    scores = {"gap": 9.0, "latency_ms": 1.0, "size_mb": 1.0}
    missing = {"size": -0.5, "retention": 0.21}
    scored = TrialRecord(1, "complete", {"steps": 2}, scores, missing, {}, "", "")
    corner = (9.0, 9.0, 9.0)

    def told(*trials: TrialRecord) -> str:
        about = "made-up", {}, trials, (), None, {}, (), {}, {}, 0.0, corner
        with pytest.raises(NegativeVerdict) as caught:
            _require_feasible(StudyRecord(*about))
        return str(caught.value)

    closest = "trial 1 (steps=2), has retention under its limit by 0.21; loosen that limit"
    assert closest in told(stopped, scored)
    assert "trial 0 (steps=1): too slow" in told(stopped)
    lost = TrialRecord(2, "pruned", {"steps": 1}, {}, {"training": 1.0}, {}, "", "", "no room")
    assert told(lost).endswith("trial 2 (steps=1): no room")


def test_search_refuses_when_the_settings_or_the_device_changed(
    make_config: Make, tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(make_config(trials=1), tmp_path, silent)
    with pytest.raises(StudyError, match=r"seed was 0 and is now 1.*--study fake-2"):
        search(make_config(trials=1, seed=1), tmp_path, silent)
    faults(device="another")
    with pytest.raises(StudyError, match="device was 'fake' and is now 'another'"):
        search(make_config(trials=2), tmp_path, silent)
    faults()
    monkeypatch.setenv("FAKE_DEVICE", "another")
    search(make_config(trials=1), tmp_path, silent)  # all is measured
    with pytest.raises(StudyError, match="device was 'fake' and is now 'another'"):
        search(make_config(trials=1, finalists=1), tmp_path, silent)
    session = open_session(make_config(), tmp_path)
    session.study.set_user_attr("remeasured", {})
    session.store.close()
    with pytest.raises(StudyError, match="device was 'fake' and is now 'another'"):
        search(make_config(trials=1), tmp_path, silent)
    monkeypatch.delenv("FAKE_DEVICE")
    faults(teacher="another")
    with pytest.raises(StudyError, match="another teacher"):
        search(make_config(trials=1), tmp_path, silent)


def test_settings_may_change_until_the_study_is_prepared(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(make_config(trials=1), tmp_path)  # as by a teacher that was refused
    facts = importlib.import_module("fake_evaluation").prepare(
        session.config.task, tmp_path, silent
    )
    record = search(make_config(trials=1, seed=1), tmp_path, silent)
    assert record.config["seed"] == 1 and record.trained == 1
    with pytest.raises(StudyError, match="seed was 1 and is now 0"):
        bind(session, facts)  # who began before that
    session.store.close()


@pytest.mark.slow
def test_second_workspace_is_refused_and_told_to_join_and_a_moved_one_is_the_same(
    make_config: Make, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    config = make_config(storage=url, artifacts=str(tmp_path / "kept"), trials=1)
    first = search(config, tmp_path / "one", silent)
    with pytest.raises(StudyError, match=r"another workspace, .*/one; .* with: worker fake, or"):
        search(config, tmp_path / "two", silent)
    assert not (tmp_path / "two" / "studies").exists()
    (tmp_path / "one").rename(tmp_path / "two" / "moved")
    again = search(config, tmp_path / "two" / "moved", silent)
    assert again.remeasured == first.remeasured
    session = open_session(config, tmp_path)
    session.study.set_user_attr("remeasured", {})
    session.store.close()
    (tmp_path / "three").mkdir()
    shutil.copy(tmp_path / "two" / "moved" / "workspace.id", tmp_path / "three")
    third = search(config, tmp_path / "three", silent)  # the disk of the first is lost
    assert third.remeasured == first.remeasured
    assert (tmp_path / "three/cache/teachers/t/model.safetensors").read_bytes() == b"a teacher"
    assert (tmp_path / "three/cache/trajectories/b/b").exists()


@pytest.mark.parametrize("where", ["another storage", "deleted"])
def test_folder_of_another_study_of_that_name_is_refused(
    make_session: Callable[..., Session], where: str
) -> None:
    first = make_session()
    settle_in(first)
    settle_in(first)
    (trial_folder(first.workspace, "fake", 0)).mkdir(parents=True)
    if where == "deleted":
        optuna.delete_study(study_name="fake", storage=first.store.storage)
        second = make_session()
    else:
        second = make_session(storage=f"sqlite:///{first.workspace}/other.db")
    for refused in (settle_in, own_folder):
        with pytest.raises(StudyError, match=r"fake holds the trials of another study named"):
            refused(second)
    (first.workspace / "studies" / "fake").rename(first.workspace / "away")
    settle_in(second)


def test_what_two_searches_add_to_a_study_is_all_kept(
    make_session: Callable[..., Session],
) -> None:
    sessions = [make_session(), make_session()]

    def add(index: int) -> None:
        for i in range(20):
            sessions[index].keep("seen", lambda known, i=i: [*(known or []), (index, i)])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, range(2)))
    assert len(sessions[0].study.user_attrs["seen"]) == 40


def test_second_search_mirrors_what_the_first_left(
    make_session: Callable[..., Session], run_worker_here: Callable[..., object]
) -> None:
    session = make_session(trials=2, track=True)
    record = study_record(session.study, session.workspace)
    with contextlib.ExitStack() as stack:
        tracker = Tracker(session, stack)
        with mirror(record, session.workspace):
            tracker.open()
            run_worker_here(session)
            tracker.catch_up()
        done = study_record(session.study, session.workspace)
        tracker.finish(done)
    with mirror(done, session.workspace) as opened:
        assert opened is not None and not any(opened.lacks(n) for n in (0, 1))


def test_anchors_are_enqueued_under_the_lock_of_the_study(
    make_session: Callable[..., Session],
) -> None:
    session, other = make_session(), make_session()
    wanted = len(anchors(session.space))
    with ThreadPoolExecutor(1) as pool:
        with session.store.lock("fake"):
            running = pool.submit(_enqueue_anchors, other)
            wait([running], 0.3)
            assert not running.done() and not session.trials()
        running.result()
    _enqueue_anchors(session)
    assert len(session.trials()) == wanted > 0


def test_search_refuses_before_any_work_when_told_nonsense(
    make_config: Make, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        search(make_config(), tmp_path / "file", silent)
    with pytest.raises(ConfigError, match="trials 0"):
        search(make_config(trials=0), tmp_path / "w", silent)
    with pytest.raises(StudyError, match="does not answer"):
        search(make_config(storage="sqlite:////no/such/x.db"), tmp_path / "w", silent)


@pytest.mark.slow
def test_search_ends_early_but_in_order_when_its_time_is_up(
    make_config: Make, tmp_path: Path
) -> None:
    record = search(make_config(trials=400, timeout_s=4.0), tmp_path, silent)
    assert 1 <= record.trained < 400
    assert record.states["failed"] == 0
    assert all(t.state not in ("requeued", "running") for t in record.trials)


def test_plan_says_what_a_search_would_do(make_config: Make, tmp_path: Path) -> None:
    planned = plan(make_config(space=TINY))
    assert planned["candidates"] == 4 and planned["exact"]
    assert [d["name"] for d in planned["dimensions"]] == ["widths", "steps"]
    assert planned["config"]["trials"] == 6
    assert list(tmp_path.iterdir()) == []
