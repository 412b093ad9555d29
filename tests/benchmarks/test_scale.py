from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from benchmarks.scale import made_study, run
from studies.axes import VALUES
from studies.history import study_record

REFERENCE = {"gap": 2.0, "floor": 0.5, "latency_ms": 90.0, "size_mb": 1.0}
RUNG = {"iteration": 8, "gap": 5.0, "retention": 0.4, "retention_high": 0.5}
TRIALS: list[dict[str, Any]] = [
    {"gap": 3.0, "latency_ms": 2.0, "size_mb": 0.1, "rungs": [RUNG]},
    {"gap": 2.5, "latency_ms": 4.0, "size_mb": 0.2, "rungs": [RUNG, RUNG]},
    {"latency_ms": 4.0, "size_mb": 0.2, "rungs": []},  # diverged
]


def test_made_study_has_the_recorded_figures_within_their_jitter(tmp_path: Path) -> None:
    session = made_study(tmp_path, 12, {"reference": REFERENCE, "trials": TRIALS}, 0)
    record = study_record(session.study, tmp_path)
    least = session.config.limits.min_retention
    session.store.close()
    assert record.trained == 12 and record.hypervolume > 0
    # What a report does with trials that are good enough is to be timed, too.
    assert 3 <= sum(t.feasible for t in record.trials) <= 9 and record.front
    for trial in record.trials:
        own = TRIALS[trial.number % 2]
        assert trial.values == {n: pytest.approx(own[n], rel=0.3) for n in VALUES}
        assert trial.constraints["retention"] == least - trial.attributes["retention"]
        assert len(trial.params) > 5 and trial.seconds == 9.0


def test_run_gives_a_row_for_each_length(tmp_path: Path) -> None:
    table = tmp_path / "rungs.json"
    table.write_text(json.dumps({"reference": REFERENCE, "trials": TRIALS}))
    given = {"seed": 0, "workspace": tmp_path, "progress": silent, "lengths": (12, 20)}
    (row,) = run(**given, row=1, table=table)["rows"]
    assert row["trials"] == 20 and row["feasible"] >= row["front"] > 0
    assert all(row[name] > 0 for name in ("show_s", "report_s", "suggestion_s", "decision_s"))
    with pytest.raises(ConfigError, match="row 2: there are 2"):
        run(**given, row=2, table=table)
    with pytest.raises(ConfigError, match=r"python -m benchmarks\.rungs"):
        run(**given, row=None, table=tmp_path / "none.json")
