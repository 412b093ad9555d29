from __future__ import annotations

import pytest

from reports.terminal import Lines


def test_a_stage_is_told_at_its_start_and_end_and_again_when_there_is_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = Lines()
    for _ in range(2):
        for done in (1, 2, 3, 3):
            show("teacher", done, 3)
    told = capsys.readouterr().err.splitlines()
    assert told == ["teacher: 1/3", "teacher: 3/3"] * 2
