from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ado_nas.progress import silent
from ado_nas.specs import from_dict
from objectives.scores import Limits
from studies.config import SearchConfig
from studies.evaluation import evaluation_module
from studies.session import Session, bind, open_session
from studies.worker import Ended, work

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(FAKES))  # spawned processes inherit the path
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # locks of their own: others may be timing
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def make_config() -> Callable[..., SearchConfig]:
    def make(**fields: Any) -> SearchConfig:
        base = SearchConfig(
            study="fake",
            preset="fake",
            evaluator="fake_evaluation",
            trials=6,
            track=False,
            limits=Limits(min_retention=0.0),
        )
        return from_dict(SearchConfig, fields, base)

    return make


@pytest.fixture
def make_session(
    make_config: Callable[..., SearchConfig], tmp_path: Path
) -> Iterator[Callable[..., Session]]:
    """An open and prepared study, in this process."""

    opened: list[Session] = []

    def make(**fields: Any) -> Session:
        config = make_config(**fields)
        session = open_session(config, tmp_path)
        module = evaluation_module("fake_evaluation")
        bind(session, module.prepare(config.task, tmp_path, silent))
        opened.append(session)
        return session

    yield make
    for session in opened:
        session.store.close()


@pytest.fixture
def run_worker_here() -> Callable[..., list[Ended]]:
    """The loop of a worker, in this process."""

    def run(session: Session, worker: str = "host/w") -> list[Ended]:
        evaluator = sys.modules["fake_evaluation"].FakeEvaluator(session.workspace)
        return list(work(session, evaluator, worker, lambda: ""))

    return run


@pytest.fixture
def faults(tmp_path: Path) -> Callable[..., None]:
    def write(**wanted: Any) -> None:
        (tmp_path / "fake.json").write_text(json.dumps(wanted))

    return write
