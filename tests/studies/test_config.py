from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ado_nas.errors import AdoNasError
from ado_nas.files import write_json
from ado_nas.specs import to_dict
from search_spaces.candidate import build
from search_spaces.space import DIMENSIONS, anchors
from studies.config import SearchConfig, presets, resolve


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    Image.new("RGB", (16, 16)).save(tmp_path / "one.png")
    return str(tmp_path)


def test_presets_all_resolve(pictures: str) -> None:
    assert {"digits", "shapes16", "shapes32", "patches32", "folder", "smoke"} <= set(presets())
    for name in presets():
        config = resolve(name, flags={"data": pictures} if name == "folder" else {})
        assert (config.preset, config.study) == (name, name)
        assert len(config.space.dimensions) <= 12 or name.endswith("-wide")


def test_wide_preset_has_every_dimension_on_the_task_of_its_base() -> None:
    wide = resolve("digits-wide")
    assert {d.name for d in wide.space.dimensions} == set(DIMENSIONS)
    assert wide.task == resolve("digits").task
    assert wide.trials >= 10 * len(DIMENSIONS)


@pytest.mark.parametrize("name", ["shapes32", "patches32"])
def test_presets_of_32_px_try_each_curriculum_on_nested_networks(name: str) -> None:
    config = resolve(name)
    space, base = config.space, config.task.teacher.unet
    tried = [build(space, p, base, config.distillation) for p in anchors(space)]
    assert [c.curriculum.resolutions for c in tried] == [(), (16, 32), (8, 16, 32)]
    assert {c.unet.nested for c in tried} == {base.nested} == {2}
    assert set(config.task.quality.resolutions) == {16}


def test_preset_is_the_one_for_the_data_when_none_is_named(pictures: str) -> None:
    assert resolve(flags={"data": pictures}).preset == "folder"
    assert resolve(flags={"data": "shapes"}).preset == "shapes16"
    assert resolve(flags={"data": "patches"}).preset == "patches32"
    assert resolve().preset == "digits"
    with pytest.raises(AdoNasError, match="give --data FOLDER"):
        resolve("folder")


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('preset = "smoke"\ntrials = 5\nseed = 7\n[limits]\nmax_size_mb = 1\n')
    config = resolve(None, file, {"trials": 9, "max_latency_ms": 2.5, "workers": None})
    assert (config.preset, config.trials, config.seed) == ("smoke", 9, 7)
    assert (config.limits.max_latency_ms, config.limits.max_size_mb) == (2.5, 1.0)
    assert config.workers == resolve("smoke").workers


def test_noise_follows_a_resolution_that_is_not_the_presets(tmp_path: Path) -> None:
    own, double = resolve("shapes16").task, resolve("shapes16", flags={"resolution": 32}).task
    assert double.teacher.p_mean == pytest.approx(own.teacher.p_mean + math.log(2))
    assert double.trajectories.sigma_min == 2 * own.trajectories.sigma_min
    assert double.trajectories.sigma_max == 2 * own.trajectories.sigma_max
    (tmp_path / "own.toml").write_text("[task.trajectories]\nsigma_min = 0.03\n")
    flags = {"resolution": 32, "task.teacher.p_mean": -0.1}
    told = resolve("shapes16", tmp_path / "own.toml", flags).task
    assert (told.teacher.p_mean, told.trajectories.sigma_min) == (-0.1, 0.03)
    assert told.trajectories.sigma_max == 2 * own.trajectories.sigma_max


def test_resolution_sets_data_and_teacher() -> None:
    config = resolve("digits", flags={"resolution": 32, "task.data.seed": 3})
    assert config.task.data.resolution == config.task.teacher.unet.resolution == 32
    assert config.task.data.seed == 3


def test_preset_at_a_lower_resolution_leaves_out_what_is_too_small_there() -> None:
    small = resolve("shapes32", flags={"resolution": 16})
    assert small.task.quality.resolutions == ()
    assert small.space.curriculum == ("1", "1-1", "1-1-2")
    least = resolve("shapes32", flags={"resolution": 8})
    assert least.space.curriculum == ("1",)
    with pytest.raises(AdoNasError, match="'1-1'"):
        resolve("shapes32", flags={"resolution": 8, "space.curriculum": ["1", "1-1"]})
    with pytest.raises(AdoNasError, match="'crops:1-1'"):  # nested networks see no crops
        resolve("shapes32", flags={"space.curriculum": ["1", "crops:1-1"]})


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"trials": 0}, "trials 0: give at least 1"),
        ({"workers": -1}, "workers -1"),
        ({"timeout": -1.0}, "timeout_s -1"),
        ({"min_retention": -0.1}, "min_retention -0.1"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"study": "../away"}, "study '../away'"),
        ({"trialz": 3}, "did you mean 'trials'"),
        ({"data": "digitz"}, "digitz"),
        ({"resolution": 7}, "resolution"),
        ({"task.quality.resolutions": [12]}, "16 px cannot be averaged to 12 px"),
        (
            {"task.supernet.iterations": 9, "task.supernet.curriculum": {"resolutions": [8, 16]}},
            "one share each",
        ),
        (
            {
                "task.supernet.iterations": 9,
                "task.supernet.curriculum": {"resolutions": [3, 16], "shares": [0.5, 0.5]},
            },
            "curriculum at 3 px",
        ),
        ({"task.data.resolution": 8}, "data has resolution 8 but the teacher 16"),
        ({"trials": "many"}, "trials is 'many'"),
        ({"finalist_seeds": 1}, "finalist_seeds 1: give at least 2"),
        ({"timeout": math.nan}, "timeout_s nan: give 0 or more"),
        ({"max_latency_ms": math.nan}, "max_latency_ms nan: give a positive number"),
        ({"min_retention": math.inf}, "min_retention inf: give a positive number"),
        ({"memory_budget_mb": math.nan}, "memory_budget_mb nan"),
        ({"seed": 2**64}, f"seed {2**64}: give 0 or more"),
        ({"sampler": "nsga2", "startup": 1}, "startup 1: a generation"),
        ({"study": "a" * 101}, "100 at most"),
        ({"space.steps": [1, 2, 3, 8], "task.trajectories.levels": 4}, "space.steps 8: students"),
        ({"distillation.learning_rate": math.nan}, "distillation.learning_rate nan"),
        ({"distillation.ema_decay": 7.0}, "distillation.ema_decay 7"),
        ({"task.teacher.unet.time_width": 0}, "time_width 0: at least 1"),
        ({"task.teacher.unet.hinted": True}, "task.teacher.unet.hinted"),
    ],
)
def test_resolve_refuses_in_one_line_when_a_flag_cannot_be(
    flags: dict[str, Any], said: str
) -> None:
    with pytest.raises(AdoNasError) as caught:
        resolve("digits", flags=flags)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_choices_are_checked_against_the_teacher_that_is_given(tmp_path: Path) -> None:
    flags = {"data": "shapes", "resolution": 32}
    assert resolve("digits-wide", flags=flags)
    teacher = resolve("shapes32").task.teacher.unet
    write_json(tmp_path / "spec.json", to_dict(teacher))
    with pytest.raises(AdoNasError, match="nested networks"):
        resolve("digits-wide", flags={**flags, "teacher": str(tmp_path)})
    assert resolve("shapes32", flags={"teacher": str(tmp_path)})
    elsewhere = str(tmp_path / "of another machine")
    assert resolve("digits-wide", flags={**flags, "teacher": elsewhere})


def test_weight_of_maps_that_no_network_has_is_refused() -> None:
    flags = {"space.feature_weight": [0.5], "space.curriculum": ["1"]}
    with pytest.raises(AdoNasError, match="no map in common"):
        resolve("shapes32", flags=flags)
    assert resolve("shapes32", flags={**flags, "space.feature_weight": [0.0, 0.5]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trials = [", "is not TOML"),
        ("trial = 3", "mine.toml: SearchConfig has no field 'trial'"),
        ('[task]\ndata = "shapes"', "mine.toml: TaskSpec.data"),
        ('task = "digits"', "mine.toml: SearchConfig.task"),
        ("[space]\npatch = [0]", r"space.patch \(0,\): give at least 1"),
        ("[space]\nhead_dim = [0]", r"space.head_dim \(0,\): give at least 1"),
        (
            '[space]\nanchors = ["none"]\nwidths = ["16-16", "10-10"]',
            r"space.widths '10-10': widths \(10, 10\)",
        ),
        (
            '[space]\nanchors = ["none"]\nwidths = ["16-16", "8-8-8-8-8"]',
            "space.widths '8-8-8-8-8': resolution 16 does not divide by 16",
        ),
    ],
)
def test_resolve_names_the_file_when_it_cannot_be_used(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(AdoNasError, match=said):
        resolve(None, file)


def test_resolve_names_the_nearest_preset_or_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AdoNasError, match="did you mean 'digits'"):
        resolve("digit")
    with pytest.raises(AdoNasError, match=r"absent\.toml cannot be read"):
        resolve("digits", tmp_path / "absent.toml")


def test_config_can_name_every_field_as_a_dotted_flag() -> None:
    config = resolve("digits", flags={"space.steps": [1, 2], "distillation.iterations": 9})
    assert isinstance(config, SearchConfig)
    assert (config.space.steps, config.distillation.iterations) == ((1, 2), 9)
