from __future__ import annotations

from pathlib import Path

import pytest

from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from benchmarks import predictor


@pytest.mark.slow
def test_rows_hold_both_latencies_of_different_networks(
    tmp_path: Path, own_lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "FITTED", 4)
    monkeypatch.setattr(predictor, "ROUNDS", 1)
    monkeypatch.setattr("ado_nas.measure.predictor._PASSES", 1)
    found = predictor.run(
        seed=3, row=None, workspace=tmp_path, progress=silent, judged=4, tabled=3
    )
    assert len({row["spec"] for row in found["rows"]}) == 4
    for row in found["rows"]:
        assert row["error"] == pytest.approx(row["predicted_ms"] / row["latency_ms"] - 1, abs=1e-3)
    assert -1 <= found["kendall_tau"] <= 1
    assert found["median_error"] > 0


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 to 39"):
        predictor.run(seed=0, row=40, workspace=tmp_path, progress=silent)
