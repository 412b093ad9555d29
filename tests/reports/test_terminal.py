from __future__ import annotations

import pytest

from reports.terminal import Lines, table


def test_a_stage_is_told_at_its_start_and_end_and_again_when_there_is_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = Lines()
    for _ in range(2):
        for done in (1, 2, 3, 3):
            show("teacher", done, 3)
    told = capsys.readouterr().err.splitlines()
    assert told == ["teacher: 1/3", "teacher: 3/3"] * 2


def test_a_table_has_a_column_for_every_key_and_a_dash_where_a_row_lacks_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"seed": 0, "volume": 3.0}, {"seed": 10, "ratio": 2.5, "volume": None}]
    for given, expected in (
        (rows, ["seed  volume  ratio", "0     3       -", "10    -       2.5"]),
        (rows[::-1], ["seed  ratio  volume", "10    2.5    -", "0     -      3"]),
    ):
        table(given)
        assert capsys.readouterr().out.splitlines() == expected
