from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from reports.table import LEADING, TRAILING, frame, write_csv
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def test_csv_has_one_row_a_trial_when_read_by_pandas(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    record = make_study()
    read = pd.read_csv(write_csv(record, tmp_path / "trials.csv"))
    assert read["number"].tolist() == [t.number for t in record.trials]
    assert set(read.loc[read["front"], "number"]) == set(record.front)
    assert read.loc[read["best"], "number"].tolist() == [record.best]
    for trial in record.trials:
        row = read.loc[read["number"] == trial.number].iloc[0]
        assert row["state"] == trial.state and row["spec_hash"] == trial.spec_hash
        for name, value in {**trial.values, **trial.params}.items():
            cell = row[name if name in trial.values else f"param_{name}"]
            assert str(cell) == str(value) or float(cell) == pytest.approx(value)
    assert list(tmp_path.glob(".trials*")) == []


def test_row_agrees_with_itself_when_measured_twice(make_study: MakeStudy) -> None:
    record = make_study()
    table = frame(record).set_index("number").loc[list(record.front)]
    kept = (9.9 + 2.0) / (table["gap"] + 2.0)
    assert table["retention"].tolist() == pytest.approx(kept.tolist())
    assert table["remeasured_gap"].tolist() == [record.remeasured[n]["gap"] for n in record.front]


def test_frame_keeps_its_columns_when_there_is_no_trial(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    table = frame(without_trials(make_study()))
    assert table.empty and list(table.columns) == [*LEADING, *TRAILING]
