"""Numbers of a task that cannot be used are refused where they are given."""

from __future__ import annotations

from typing import Any

import pytest

from ado_nas.errors import SpecError
from ado_nas.specs import TaskSpec, from_dict


def nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("quality.batch", 0, "at least 1"),
        ("quality.samples", 8, "at least 16"),
        ("quality.noise_seed", -1, "at least 0"),
        ("latency_batch", 0, "1 to 1000"),
        ("latency_batch", 1001, "1 to 1000, as many as task.quality.samples"),
        ("worst_teacher", -0.1, "at least 0"),
        ("training_free", [["ddim"]], "a solver and a schedule"),
        ("teacher.seed", -1, "at least 0"),
        ("teacher.batch", 0, "at least 1"),
        ("teacher.learning_rate", float("nan"), "at least 0"),
        ("teacher.learning_rate", float("inf"), "at least 0"),
        ("teacher.ema_decay", 1.5, "0 to 1"),
        ("trajectories.seed", -1, "at least 0"),
        ("trajectories.levels", 0, "at least 1"),
        ("trajectories.sigma_min", 80.0, "sigma_max 40.0: .* sigma_min the lower"),
        ("supernet.batch", 0, "at least 1"),
        ("supernet.iterations", -1, "at least 0"),
    ],
)
def test_numbers_out_of_range_are_named_with_what_is_wanted(
    path: str, value: Any, wanted: str
) -> None:
    with pytest.raises(SpecError, match=wanted) as refused:
        from_dict(TaskSpec, nested(path, value))
    assert str(refused.value).startswith(f"task.{path} ")


def test_samplers_of_a_task_are_those_there_are() -> None:
    for change, told in (
        ({"training_free": [["dppm_2m", "karras"]]}, "dpmpp_2m"),
        ({"training_free_nfe": [0]}, "nfe 0: at least 1"),
    ):
        with pytest.raises(SpecError, match=told):
            from_dict(TaskSpec, change)


def test_learned_levels_are_no_more_than_the_trajectories_hold() -> None:
    TaskSpec().check_samplers()
    more = {"training_free_nfe": [4, 30]}
    with pytest.raises(SpecError, match=r"dpmpp_2m dp with 30 evaluations: .* hold 20 levels"):
        from_dict(TaskSpec, more).check_samplers()
    closed = {**more, "training_free": [["dpmpp_2m", "karras"]]}
    from_dict(TaskSpec, closed).check_samplers()
    pairs = {**more, "training_free": [["heun", "dp"]]}
    from_dict(TaskSpec, pairs).check_samplers()
    with pytest.raises(SpecError, match="ddim dp with 21"):
        reference = {"reference": {"solver": "ddim", "schedule": "dp", "nfe": 21}}
        from_dict(TaskSpec, {**reference, "training_free": []}).check_samplers()
