from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ado_nas.errors import NO_SPACE, WorkspaceError
from ado_nas.progress import silent
from studies import heartbeat, trainers
from studies.config import SearchConfig
from studies.finalists import CHOSEN, key
from studies.history import study_record
from studies.liveness import alive
from studies.retraining import Training, _beat, give_up, train_again
from studies.search import search
from studies.session import Session
from studies.worker import Ended

Make = Callable[..., Session]
Run = Callable[..., list[Ended]]


def train(session: Session, worker: str = "host/w", order: str = "") -> list[str]:
    evaluator = sys.modules["fake_evaluation"].FakeEvaluator(session.workspace)
    return list(train_again(session, evaluator, worker, lambda: order))


def rows(session: Session) -> dict[str, Any]:
    return {k: v for k, v in session.study.user_attrs.items() if k.startswith("finalist:")}


@pytest.fixture
def planned(make_session: Make, run_worker_here: Run) -> Session:
    session = make_session(finalists=2, trials=3)
    run_worker_here(session)
    trainers._plan(session)
    return session


def test_each_finalist_is_trained_once_from_each_seed(planned: Session) -> None:
    plan = planned.study.user_attrs[CHOSEN]
    assert plan["seeds"] == [1, 2]
    phrases = train(planned)
    assert len(phrases) == 4
    # Every finalist from one seed, before any from the next.
    assert [p.split(" from seed ")[1][0] for p in phrases] == ["1", "1", "2", "2"]
    for number in plan["numbers"]:
        for seed in (1, 2):
            row = rows(planned)[key(number, seed)]
            assert (row["state"], row["seed"]) == ("complete", seed)
            card = json.loads((planned.workspace / row["folder"] / "card.json").read_text())
            assert card["seed"] == seed
    assert train(planned) == []


def test_training_that_diverges_is_told(planned: Session, faults: Any) -> None:
    number = planned.study.user_attrs[CHOSEN]["numbers"][0]
    params = planned.trials()[number].params
    faults(diverge={"steps": planned.candidate(params).sampler.nfe})
    assert len(train(planned)) == 4
    lost = rows(planned)[key(number, 1)]
    assert (lost["state"], lost["reason"]) == ("pruned", "loss is nan at iteration 7")


def test_bug_is_tried_once_more_and_says_nothing_of_what_repeats(
    planned: Session, faults: Any
) -> None:
    faults(fail={})
    told = train(planned)
    assert len(told) == 4
    assert all("failed: ZeroDivisionError: a bug, as asked, 2 times" in t for t in told)
    lines = (planned.workspace / "evaluated.log").read_text().splitlines()
    assert len(lines) == 3 + 2 * 4
    assert train(planned) == []
    for found in study_record(planned.study, planned.workspace).finalists:
        assert found.repeated is None and [row["repeated"] for row in found.seeds] == [None, None]


def test_bug_that_does_not_come_back_costs_nothing(planned: Session, faults: Any) -> None:
    faults(fail={})
    evaluator = sys.modules["fake_evaluation"].FakeEvaluator(planned.workspace)
    orders = iter(["", "finish"])
    assert list(train_again(planned, evaluator, "host/w", lambda: next(orders))) == []
    assert [row["crashes"] for row in rows(planned).values()] == [1]
    faults()
    assert len(train(planned)) == 4


@pytest.mark.slow
def test_full_disk_ends_the_run_and_no_training(planned: Session, faults: Any) -> None:
    faults(full=True)
    with pytest.raises(WorkspaceError, match=NO_SPACE):
        trainers.retrain(planned, silent)
    assert not any("state" in row for row in rows(planned).values())
    faults()
    assert all(phrase.endswith(" complete") for phrase in train(planned))
    assert {row["state"] for row in rows(planned).values()} == {"complete"}


def test_training_of_a_dead_process_is_done_by_another(planned: Session) -> None:
    number = planned.study.user_attrs[CHOSEN]["numbers"][0]
    with alive() as name:
        dead = name
    held = {"worker": dead, "crashes": 0}
    planned.study.set_user_attr(key(number, 1), held)
    assert len(train(planned)) == 4


def test_training_of_a_living_process_is_left_to_it(planned: Session) -> None:
    number = planned.study.user_attrs[CHOSEN]["numbers"][0]
    asked: list[str] = []

    def order() -> str:
        asked.append("")
        return "finish" if len(asked) > 12 else ""

    with alive() as name:
        held = {"worker": name, "crashes": 0}
        planned.study.set_user_attr(key(number, 1), held)
        evaluator = sys.modules["fake_evaluation"].FakeEvaluator(planned.workspace)
        done = list(train_again(planned, evaluator, "host/w", order))
    assert len(done) == 3  # and then it waits
    assert rows(planned)[key(number, 1)] == held


@pytest.mark.slow
def test_training_of_another_machine_is_taken_over_once_it_is_silent(
    planned: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "SILENCE_SECONDS", 3.0)
    number = planned.study.user_attrs[CHOSEN]["numbers"][0]
    there = Training(number, 1)
    planned.study.set_user_attr(there.key, {"worker": "elsewhere/w", "crashes": 0})
    looked: list[float] = []

    def orders() -> str:
        """Finish when it has waited, with nothing else to do, for longer than silence lasts."""
        if sum("state" in row for row in rows(planned).values()) == 3:
            looked.append(time.monotonic())
        return "finish" if looked and looked[-1] - looked[0] > 4.0 else ""

    evaluator = sys.modules["fake_evaluation"].FakeEvaluator(planned.workspace)
    with heartbeat.counting(planned.store, partial(_beat, planned, there, "elsewhere/w")):
        assert len(list(train_again(planned, evaluator, "host/w", orders))) == 3
    assert rows(planned)[there.key]["worker"] == "elsewhere/w"
    assert len(train(planned)) == 1


def test_training_that_kills_two_processes_is_given_up(planned: Session) -> None:
    number = planned.study.user_attrs[CHOSEN]["numbers"][0]
    planned.study.set_user_attr(key(number, 1), {"worker": "host/a", "crashes": 0})
    give_up(planned, "host/b", "exit code -9")
    assert rows(planned)[key(number, 1)]["crashes"] == 0
    give_up(planned, "host/a", "exit code -9")
    again = rows(planned)[key(number, 1)]
    assert (again["worker"], again["crashes"]) == ("", 1)
    planned.study.set_user_attr(key(number, 1), {**again, "worker": "host/b"})
    give_up(planned, "host/b", "exit code -9")
    lost = rows(planned)[key(number, 1)]
    assert (lost["state"], lost["reason"]) == ("failed", "exit code -9, 2 times")
    assert len(train(planned)) == 3


def test_plan_stays_when_its_trainings_turn_out_badly(planned: Session, faults: Any) -> None:
    before = planned.study.user_attrs[CHOSEN]
    faults(luck={"1": 0.5, "2": 0.5})
    train(planned)
    wanted = trainers._plan(planned)
    trainers._measure(planned, wanted, silent)
    record = study_record(planned.study, planned.workspace)
    assert [f.repeated for f in record.finalists] == [False, False]
    trainers._plan(planned)
    assert planned.study.user_attrs[CHOSEN] == before
    trainers._measure(planned, wanted, lambda *a: pytest.fail("measured twice"))


@pytest.mark.slow
def test_training_that_is_damaged_before_it_is_judged_is_done_again(planned: Session) -> None:
    train(planned)
    lost, gone, *_ = rows(planned).values()
    (planned.workspace / lost["folder"] / "model.safetensors").write_text("x")
    shutil.rmtree(planned.workspace / gone["folder"])
    trainers.retrain(planned, silent)
    assert not trainers.unfinished(planned)
    lines = (planned.workspace / "evaluated.log").read_text().splitlines()
    assert len(lines) == 3 + 4 + 2
    assert all("retention" in row for row in rows(planned).values())
    (planned.workspace / lost["folder"] / "model.safetensors").write_text("x")
    trainers.retrain(planned, lambda *a: pytest.fail("trained again"))


@pytest.mark.slow
def test_search_trains_finalists_again_in_processes_and_once(
    make_config: Callable[..., SearchConfig], tmp_path: Path, faults: Any
) -> None:
    faults(luck={"1": 0.97, "2": 0.8, "0": 0.96})
    config = make_config(trials=5, finalists=2, finalist_seeds=2, workers=1)
    record = search(config, tmp_path, silent)
    lines = (tmp_path / "evaluated.log").read_text().splitlines()
    assert len(lines) == 5 + 4
    assert len(record.finalists) == 2
    found = record.finalists[0]
    own = record.trial(found.number).attributes["retention"]
    assert [row["retention"] / own for row in found.seeds] == pytest.approx([0.97, 0.8])
    assert found.figures["retention"] / own == pytest.approx((0.97 * 0.8) ** 0.5)
    assert not found.repeated and record.again(found.number)["repeated"] is False
    again = search(config, tmp_path, silent)
    assert again.finalists == record.finalists
    assert (tmp_path / "evaluated.log").read_text().splitlines() == lines
