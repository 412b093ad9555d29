from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from reports.commands import commands
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def test_commands_name_study_and_pick_when_split_by_a_shell(make_study: MakeStudy) -> None:
    record = make_study(name="it's $(mine)")
    lines = [shlex.split(line) for _, line in commands(record, Path("ado-runs"))]
    assert all(words[:2] == ["python", "cli.py"] for words in lines)
    assert lines[0][2:] == [
        "search",
        "--config",
        "ado-runs/studies/it's $(mine)/config.toml",
        "--study",
        "it's $(mine)-again",
        "--trials",
        "18",
        "--seed",
        "0",
    ]
    assert ["python", "cli.py", "sample", f"it's $(mine):{record.best}"] in lines


def test_commands_name_the_workspace_when_it_is_another(make_study: MakeStudy) -> None:
    found = commands(make_study(), Path("my runs"))
    assert all(shlex.split(line)[-2:] == ["--workspace", "my runs"] for _, line in found)


def test_commands_leave_out_the_pick_when_there_is_none(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    found = [line for _, line in commands(without_trials(make_study()), Path("ado-runs"))]
    assert not any("sample" in line or "--trial " in line for line in found)
