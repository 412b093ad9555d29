from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cli
from ado_nas.adaptive.countdown import countdown
from ado_nas.adaptive.policy import save_actor
from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import NegativeVerdict
from ado_nas.modelfolder import load_model, save_model
from ado_nas.models.unet import build_unet
from ado_nas.specs import SamplerSpec, UNetSpec
from reports import terminal
from tests.fakes.fake_practice import random_bank
from tests.fakes.fake_schedules import by_content, untrained_actor
from tests.fakes.fake_study import study, trial

ROOT = Path(__file__).resolve().parents[1]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


ENDLESS = """
import time
import cli

def app(standalone_mode):
    print("on", flush=True)
    time.sleep(60)

cli.app = app
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_stopped_says_that_it_can_go_on(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "on\n"
        process.send_signal(number)
        errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert errors == "error: interrupted; the same command goes on from here\n"


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """The command line in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["cli.py", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    spec = UNetSpec(8, 1, 1, (4, 8), attention=("none", "none"), time_width=16, num_classes=3)
    levels = karras_levels(2, 0.02, 40.0)
    sampler = SamplerSpec("ddim", "karras", 2)
    save_model(tmp_path / "model", build_unet(spec, 1), sampler, levels, {"kind": "test"})
    return tmp_path / "model"


def test_help_answers_at_once() -> None:
    best = 9.0
    for _ in range(5):
        begin = time.perf_counter()
        assert run("--help").returncode == 0
        best = min(best, time.perf_counter() - begin)
    assert best < 0.4 + 0.1 * os.getloadavg()[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("search --preset dogits --workspace {w}", "did you mean 'digits'"),
        ("search --trials 0 --workspace {w}", "trials 0"),
        ("search --workers -1 --workspace {w}", "workers -1"),
        ("search --sampler tpo --workspace {w}", "did you mean 'tpe'"),
        ("search --resolution 13 --workspace {w}", "resolution 13"),
        ("search --data {w}/none --workspace {w}", "none"),
        ("search --data {empty} --workspace {w}", "empty"),
        ("search --config {toml} --workspace {w}", "trails"),
        ("search --config {w}/none.toml --workspace {w}", "cannot be read"),
        ("search --teacher {w} --workspace {w}/ws", "no model folder"),
        ("search --teacher nobody:3 --workspace {w}", "no model at"),
        ("optimize --preset smoke --target-steps 20 --workspace {w}", "the reference takes 20"),
        ("optimize --preset smoke --target-steps 0 --workspace {w}", "target_steps 0"),
        ("optimize --preset smoke --target-steps 9 --workspace {w}", "the trajectories hold 8"),
        ("optimize --preset smoke --quality-threshold 0 --workspace {w}", "quality_threshold 0.0"),
        (
            "optimize --preset smoke --quality-threshold 1.01 --workspace {w}",
            "quality_threshold 1.01",
        ),
        ("optimize --preset smoke --stages 8,x --workspace {w}", "--stages '8,x'"),
        ("optimize --preset smoke --stages 4,8 --workspace {w}", "stages 4,8"),
        (
            "optimize --preset smoke --target-steps 2 --stages 6,4 --workspace {w}",
            "the last one the target of 2",
        ),
        ("optimize --preset smoke --method anchord --workspace {w}", "did you mean 'anchored'"),
        ("optimize --preset smoke --method chained --stages 5,2 --workspace {w}", "must divide"),
        ("optimize --preset smoke --compress tiny --workspace {w}", "compress 'tiny'"),
        ("optimize --preset smoke --teacher {w} --workspace {w}", "no model folder"),
        ("search --storage nonsense --workspace {w}", "no URL"),
        ("search --storage sqlite:////none/x.db --workspace {w}", "does not answer"),
        ("search --workspace {file}", "cannot be written"),
        ("search --finalists -1 --workspace {w}", "finalists -1"),
        ("search --warm-start nobody --workspace {w}", "no study 'nobody'"),
        ("search --study a --warm-start a --workspace {w}", "the study itself"),
        ("search --trials many", "--trials"),
        ("search --nonsense", "--nonsense"),
        ("show --workspace {w}/none", "no workspace"),
        ("show nobody --workspace {w}", "no study 'nobody'"),
        ("show --trial 3 --workspace {w}", "needs a study"),
        ("show --pick knee --workspace {w}", "needs a study"),
        ("show nobody --pick knee --workspace {w}", "no study 'nobody'"),
        ("report nobody --workspace {w}", "no study 'nobody'"),
        ("dashboard --workspace {w}/none", "no workspace"),
        ("schedule nobody:teacher --workspace {w}", "no study 'nobody'"),
        ("schedule {w} --workspace {w}", "no model folder"),
        ("schedule {model} --solvers ddmi --workspace {w}", "did you mean 'ddim'"),
        ("schedule {model} --nfe 0 --workspace {w}", "NFE from 1"),
        ("schedule {model} --nfe a --workspace {w}", "give numbers"),
        ("schedule {model} --nfe 4,² --workspace {w}", "give numbers"),
        ("schedule {model} --latency-ms 0 --workspace {w}", "above 0"),
        ("schedule {model} --latency-ms 1 --images-per-s 9 --workspace {w}", "one of them"),
        ("schedule {model} --mean-nfe 9 --workspace {w}", "give 3 to 8"),
        ("schedule {model} --mean-nfe 4 --latency-ms 1 --workspace {w}", "one of them"),
        ("schedule {model} --mean-nfe 4 --solvers heun --workspace {w}", "add one of ddim"),
        ("schedule nobody:supernet --workspace {w}", "no study 'nobody'"),
        ("schedule {model} --workspace {w}", "does not say what data"),
        ("schedule {model} --out {empty} --workspace {w}", "is a folder"),
        ("sample {model} --out {file}/x --workspace {w}", "cannot be written"),
        ("optimize --preset smoke --out {file}/x --workspace {w}", "cannot be written"),
        ("compare a b --html {empty} --workspace {w}", "is a folder"),
        ("sample {model} --schedule {toml} --workspace {w}", "no schedule in"),
        ("sample {model} --schedule {empty} --workspace {w}", "holds no policy"),
        ("sample nobody:3 --workspace {w}", "no model at"),
        ("sample nobody:knee --workspace {w}", "no study 'nobody'"),
        ("schedule nobody:latency=2 --workspace {w}", "no study 'nobody'"),
        ("sample {w} --workspace {w}", "no model folder"),
        ("benchmark", "which benchmark"),
        ("benchmark runtme --workspace {w}", "did you mean 'runtime'"),
        ("benchmark runtime --row 9 --workspace {w}", "row 9"),
        ("data build {empty} --workspace {w}", "empty"),
        ("data verify {w}", "no manifest"),
        ("serch", "serch"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    words: str,
    said: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("w", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "toml").write_text("trails = 3\n")
    places = {name: str(tmp_path / name) for name in ("w", "empty", "file", "toml", "model")}
    code, out, err = call(monkeypatch, capsys, *words.format(**places).split())
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    assert said in err
    assert not list(places["w"] and Path(places["w"]).glob("studies.db"))


def test_negative_verdict_is_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def examine(*_: Any, **__: Any) -> dict[str, Any]:
        raise NegativeVerdict("the gate\nfailed")

    monkeypatch.setattr("ado_nas.doctor.examine", examine)
    assert call(monkeypatch, capsys, "doctor") == (1, "", "error: the gate failed\n")


def test_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def examine(*_: Any, **__: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr("ado_nas.doctor.examine", examine)
    code, _, err = call(monkeypatch, capsys, "doctor")
    assert code == 130
    assert "same command goes on" in err


def test_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def examine(*_: Any, **__: Any) -> dict[str, Any]:
        raise ZeroDivisionError

    monkeypatch.setattr("ado_nas.doctor.examine", examine)
    monkeypatch.setattr(sys, "argv", ["cli.py", "doctor"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_doctor_reports_device_runtime_and_recommendations() -> None:
    done = run("doctor", "--json", ADO_RUNTIME="stock")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert {"device", "runtime", "memory", "extras", "recommendations"} <= found.keys()
    assert found["runtime"]["mode"] == "stock"
    assert any("ADO_RUNTIME" in line for line in found["recommendations"])


@pytest.mark.parametrize(
    ("card", "batch", "alone"),
    [
        ({"kind": "teacher", "training": {"batch": 48}}, 48, True),
        ({"kind": "student", "candidate": {"distillation": {"batch": 16}}}, 16, False),
        ({}, 32, True),
    ],
)
def test_doctor_plans_a_model_as_its_card_says_it_was_trained(
    tmp_path: Path, card: dict[str, Any], batch: int, alone: bool
) -> None:
    unet = build_unet(UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",)))
    save_model(tmp_path, unet, SamplerSpec(), karras_levels(2, 0.1, 1.0), card)
    found = cli._patient(None, {"resolution": None}, str(tmp_path), None, tmp_path)
    assert (found.batch, found.alone, found.sampled) == (batch, alone, 100)
    assert found.spec == unet.spec


def test_doctor_plans_the_training_of_a_folder_s_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / f"{i}.png")
    words = ("doctor", "--data", str(tmp_path), "--json")
    for more, side in [((), 16), (("--preset", "folder", "--resolution", "32"), 32)]:
        code, out, _ = call(monkeypatch, capsys, *words, *more)
        assert (code, json.loads(out)["plan"]["resolution"]) == (0, side)
    code, _, err = call(monkeypatch, capsys, *words, "--model", "digits:best")
    assert (code, err) == (
        2, "error: --model digits:best: give it, or a teacher's --preset or --data\n"
    )  # fmt: skip


def test_dry_run_plans_without_touching_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", "--dry-run", "--trials", "7", "--workspace", str(tmp_path / "w")]
    code, out, _ = call(monkeypatch, capsys, *words, "--json")
    found = json.loads(out)
    assert (code, found["trials"], found["config"]["study"]) == (0, 7, "digits")
    assert call(monkeypatch, capsys, *words)[1].startswith("study 'digits' on digits\n7 trials")
    assert not (tmp_path / "w").exists()


def test_workspace_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADO_WORKSPACE", str(tmp_path / "there"))
    code, _, err = call(monkeypatch, capsys, "show")
    assert code == 2
    assert str(tmp_path / "there") in err


def test_datasets_are_built_listed_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--workspace", str(tmp_path), "--json")
    words = ("data", "build", "shapes", "--resolution", "8", "--count", "60")
    code, out, _ = call(monkeypatch, capsys, *words, *where)
    built = json.loads(out)
    assert code == 0
    listed = json.loads(call(monkeypatch, capsys, "data", "list", *where)[1])
    assert {"digits", "shapes"} <= {d["name"] for d in listed["datasets"]}
    assert [d["digest"] for d in listed["built"]] == [built["digest"]]
    checked = call(monkeypatch, capsys, "data", "verify", built["manifest"], "--json")[1]
    assert json.loads(checked)["digest"] == built["digest"]
    arrays = next(Path(built["manifest"]).parent.glob("*.safetensors"))
    content = bytearray(arrays.read_bytes())
    content[-1] ^= 1
    arrays.write_bytes(bytes(content))
    assert call(monkeypatch, capsys, "data", "verify", built["manifest"])[0] == 1


def test_model_is_named_by_a_way_to_pick(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    front = [trial(0, 1.0, 50.0, 5.0), trial(1, 0.92, 4.0, 1.5), trial(2, 0.75, 3.0, 1.4)]
    asked: list[str] = []

    def load(storage: str, *_: object) -> object:
        asked.append(storage)
        return study(*front, best=1)

    monkeypatch.setattr("studies.record.load", load)
    monkeypatch.setattr("studies.storage.study_names", lambda _: ["s"])
    for member in front:
        shutil.copytree(model, tmp_path / "studies" / "s" / "trials" / str(member.number))
    url = "postgresql://somewhere"
    for how, number in (
        ("best", 1),
        ("knee", 1),
        ("latency=3.5", 2),
        ("weights=quality:2,latency:0.001", 0),
    ):
        found = cli._model_folder(f"s:{how}", url, tmp_path)
        assert found == cli._model_folder(f"s:{number}", url, tmp_path)
    assert asked and all(name.endswith("://somewhere") for name in asked)
    where = ("--storage", url, "--workspace", str(tmp_path))
    code, out, err = call(monkeypatch, capsys, "sample", "s:kneee", *where)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: pick 'kneee'[^\n]+; ways to pick: best, knee, [^\n]+\n", err)
    code, _, err = call(monkeypatch, capsys, "doctor", "--model", "s:latency=1", *where)
    assert (code, err) == (
        1,
        "error: no front member is within latency 1; the closest, trial 2, has latency 3\n",
    )


def test_sample_repeats_when_the_seed_does(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def drawn(out: str, *words: str) -> list[np.ndarray]:
        place = ("--out", str(tmp_path / out), "--json")
        code, text, _ = call(monkeypatch, capsys, "sample", str(model), *words, *place)
        assert code == 0
        return [np.array(Image.open(path)) for path in json.loads(text)["paths"]]

    first, again, other = (
        drawn(f"{n}.png", "--count", "12", "--seed", seed)
        for n, seed in enumerate(("1", "1", "2"))
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    singles = drawn("folder", "--count", "3", "--seed", "1")
    assert [image.shape for image in singles] == [(8, 8)] * 3
    np.testing.assert_array_equal(singles[0], first[0][:8, :8])


def test_sample_goes_by_what_was_learned_and_refuses_what_was_for_another(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loaded = load_model(model)
    game = countdown(random_bank(), "ddim", 4)
    by_content(loaded).save(tmp_path / "content.json")
    save_actor(tmp_path / "policy", untrained_actor(game), loaded, {})
    words = ("sample", str(model), "--count", "9", "--json", "--out", str(tmp_path / "x.png"))
    drawn = []
    for name in ("content.json", "policy"):
        place = ("--schedule", str(tmp_path / name))
        code, out, _ = call(monkeypatch, capsys, *words, *place)
        found = json.loads(out)
        assert code == 0 and found["paths"] == [str(tmp_path / "x.png")]
        assert 1 <= found["mean_nfe"] <= 4
        drawn.append(np.array(Image.open(tmp_path / "x.png")))
    assert not np.array_equal(*drawn)
    other = UNetSpec(8, 1, 1, (4, 8), attention=("none", "none"), time_width=16, num_classes=3)
    save_model(model, build_unet(other, 2), loaded.sampler, loaded.levels, {})
    for name in ("content.json", "policy"):
        code, _, err = call(monkeypatch, capsys, *words, "--schedule", str(tmp_path / name))
        assert code == 2 and f"{name}: learned for another model" in err


@pytest.mark.parametrize("better", [True, False])
def test_schedule_says_which_of_fixed_steps_and_steps_by_content_was_saved(
    capsys: pytest.CaptureFixture[str], better: bool
) -> None:
    row = {"solver": "ddim", "schedule": "dp", "learned": True, "nfe": 4}
    row |= {"gap": 3.0, "retention": 0.9, "latency_ms": 2.0, "mean_nfe": 4.5}
    content = {**row, "fixed": row, "path": "x-content.json", "better": better}
    content["ratio_interval"] = (1.1, 1.3) if better else None
    reference = {"solver": "dpmpp_2m", "nfe": 50, "latency_ms": 20.0}
    about = {"reference": reference, "path": "x.json", "content": content}
    again = {"gap": 3.5, "retention": 0.85, "retention_interval": (0.8, 0.9), "note": "doubt"}
    best = {**row, "confirmed": again}
    terminal.show_schedules({"rows": [row], "best": best, **about})
    out = capsys.readouterr().out
    assert ("saved: ddim" in out) is not better and ("what was saved" in out) is better
    assert "retention 0.85 (0.8 to 0.9), gap 3.5\ndoubt\n" in out
    assert ("1.1 to 1.3 times" in out) is better and out.endswith("x-content.json\nx.json\n")


def test_models_of_a_study_are_named_by_what_they_are(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = SimpleNamespace(reference={"teacher": str(model)})
    monkeypatch.setattr(cli, "_record", lambda *_: record)
    words = ("--count", "2", "--out", str(tmp_path / "x.png"))
    assert call(monkeypatch, capsys, "sample", "s:teacher", *words)[0] == 0
    code, _, err = call(monkeypatch, capsys, "sample", "s:supernet", *words)
    assert code == 2 and "study s has no supernet" in err and "[task.supernet]" in err
    record.reference["supernet"] = str(model)
    assert call(monkeypatch, capsys, "sample", "s:supernet", *words)[0] == 0


def test_sample_refuses_an_unknown_class(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("sample", str(model), "--label", "3", "--out", str(tmp_path / "x.png"))
    code, _, err = call(monkeypatch, capsys, *words)
    assert code == 2
    assert "0 to 2" in err
    assert not (tmp_path / "x.png").exists()


def test_json_holds_no_value_that_json_has_no_word_for(capsys: pytest.CaptureFixture[str]) -> None:
    cli._json({"a": float("nan"), "b": [float("inf"), 1.5], "c": Path("x"), 3: None})
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found == {"a": None, "b": [None, 1.5], "c": "x", "3": None}


def test_progress_is_lines_on_stderr_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(clock)))
    with terminal.progress() as progress:
        for i in range(0, 11):
            progress("teacher", i, 10, f"loss {i}")
        progress("teacher", 10, 10)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "teacher: 0/10, loss 0",
        "teacher: 3/10, loss 3, 28 s left",
        "teacher: 6/10, loss 6, 16 s left",
        "teacher: 9/10, loss 9, 4 s left",
        "teacher: 10/10, loss 10",
    ]


def test_progress_shows_the_time_left_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress() as progress:
        progress("teacher", 1, 4, "loss 2")
        progress("teacher", 4, 4, "loss 1")
    assert "teacher" in screen.getvalue()
    assert "4/4" in screen.getvalue()
    assert "0:00:00" in screen.getvalue()
