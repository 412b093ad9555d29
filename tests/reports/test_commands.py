from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import cli
from ado_nas.diffusion.levels import karras_levels
from ado_nas.modelfolder import save_model
from ado_nas.models.unet import build_unet
from ado_nas.specs import SamplerSpec, UNetSpec
from reports.commands import commands, taking
from studies.record import StudyRecord
from tests.test_docs import parse

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
    sampled = next(words for words in lines if "sample" in words)
    assert sampled[3] == f"it's $(mine):{record.best}"


def test_every_command_is_one_that_the_command_line_has(make_study: MakeStudy) -> None:
    record = make_study()
    stored = dataclasses.replace(record, config={**record.config, "storage": "postgresql://a@b/c"})
    for one, place in ((record, "ado-runs"), (stored, "my runs")):
        known = [line for _, line in commands(one, Path(place))]
        _, (_, copied) = taking(one, Path(place))
        for line in (*known, copied.splitlines()[1]):
            words = shlex.split(line)
            assert words[:2] == ["python", "cli.py"]
            parse(words[2:])


def test_commands_name_workspace_and_storage_when_they_are_others(make_study: MakeStudy) -> None:
    record = make_study()
    found = commands(record, Path("my runs"))
    assert all(shlex.split(line)[-2:] == ["--workspace", "my runs"] for _, line in found)
    url = "postgresql://ado:secret@db:5432/studies"
    stored = dataclasses.replace(record, config={**record.config, "storage": url})
    lines = [line for _, line in commands(stored, Path("ado-runs"))]
    assert sum("--storage postgresql://ado@db:5432/studies" in line for line in lines) == 4
    assert not any("secret" in line for line in lines)


def test_commands_leave_out_the_pick_when_there_is_none(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    record = without_trials(make_study())
    found = [line for _, line in commands(record, Path("ado-runs"))]
    assert not any("sample" in line or "--trial " in line for line in found)
    assert taking(record, Path("ado-runs")) == []


def test_pick_is_loaded_and_taken_elsewhere_by_the_very_lines(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_study()
    assert record.best is not None
    workspace = tmp_path / "ado-runs"
    spec = UNetSpec(8, 1, 1, (4, 8), attention=("none", "none"), time_width=16, num_classes=3)
    levels = karras_levels(2, 0.02, 40.0)
    folder = workspace / record.trial(record.best).folder
    save_model(folder, build_unet(spec, 1), SamplerSpec("ddim", "karras", 2), levels, {})
    monkeypatch.chdir(tmp_path)
    (_, lines), (_, shell) = taking(record, workspace)
    found: dict[str, object] = {}
    exec(lines, found)
    assert getattr(found["images"], "shape", None) == (8, 8, 8, 1)
    with Image.open("pick.png") as image:
        drawn = image.tobytes()
    Path("pick.png").unlink()
    copy, used = shell.splitlines()
    subprocess.run(copy, shell=True, check=True)
    monkeypatch.setattr(sys, "argv", shlex.split(used)[1:])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    with Image.open("pick.png") as image:
        assert image.tobytes() == drawn
