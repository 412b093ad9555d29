from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from reports.page import ReportPaths
from reports.summary import summary
from studies.record import StudyRecord
from studies.selection import corner

MakeStudy = Callable[..., StudyRecord]
PATHS = ReportPaths(Path("r.html"), Path("t.csv"), Path("r.json"))
KEYS = [
    keys.split()
    for keys in (
        "study n_trials states front best knee finalists hypervolume reference report seconds",
        "number values retention retention_interval compression speedup speedup_training_free "
        "spec_hash repeated dominated resolutions",
        "gap floor gaussian_gap latency_ms size_mb solver nfe",
        "teacher trajectories search remeasure finalists report",
    )
]


def test_summary_has_the_keys_of_the_design_and_more(make_study: MakeStudy) -> None:
    record = make_study()
    found = json.loads(json.dumps(summary(record, PATHS), allow_nan=False))
    assert list(found) == KEYS[0]
    assert all(list(e) == KEYS[1] for e in [*found["front"], found["best"]])
    assert all(list(e["values"]) == ["gap", "latency_ms", "size_mb"] for e in found["front"])
    assert list(found["reference"]) == KEYS[2] and list(found["seconds"]) == KEYS[3]
    assert set(found["states"]) == {"complete", "pruned", "infeasible", "duplicate", "failed"}
    assert found["best"] in found["front"] and found["best"]["number"] == record.best
    assert found["knee"] in found["front"] and found["knee"]["number"] == corner(record)
    assert found["report"] == "r.html"


def test_summary_counts_only_trials_that_trained(make_study: MakeStudy) -> None:
    record = make_study()
    trained = [t for t in record.trials if t.state in ("complete", "pruned")]
    assert summary(record, None)["n_trials"] == len(trained) < len(record.trials)


def test_entry_is_consistent_when_measured_twice(make_study: MakeStudy) -> None:
    record = make_study()
    for entry in summary(record, None)["front"]:
        again = record.remeasured[entry["number"]]
        assert entry["values"]["gap"] == again["gap"]
        assert entry["retention_interval"] == again["retention_interval"]


def test_summary_has_keys_when_there_is_no_trial(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    found = summary(without_trials(make_study()), None)
    assert list(found) == KEYS[0]
    names = ("front", "best", "knee", "report", "n_trials")
    assert [found[name] for name in names] == [[], None, None, None, 0]
