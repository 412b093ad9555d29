"""The overhead benchmark on a few trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from benchmarks.overhead import run


@pytest.mark.slow
def test_row_sums_up_its_parts(tmp_path: Path) -> None:
    (row,) = run(seed=0, row=None, workspace=tmp_path, progress=silent, trials=4)["rows"]
    assert row["trials"] == 4
    assert row["ms_per_trial"] == pytest.approx(sum(row["parts"].values()), rel=0.01)
    assert all(value > 0 for value in row["parts"].values())


def test_unknown_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one row"):
        run(seed=0, row=1, workspace=tmp_path, progress=silent)
