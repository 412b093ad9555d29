from __future__ import annotations

from collections.abc import Callable

import pytest

from ado_nas.errors import StudyError
from studies.config import SearchConfig
from studies.identity import free_name, refuse_changes, settings, surroundings

Make = Callable[..., SearchConfig]
FACTS = {"environment": {"device": "a", "python": "3.11"}, "digests": {"data": "1"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"trials": 99}, {"timeout_s": 5.0}, {"workers": 4}, {"sampler": "random"},
        {"study": "other"}, {"storage": "journal:///x"}, {"track": True}, {"startup": 3},
    ],
)  # fmt: skip
def test_what_may_change_is_none_of_the_settings_that_are_compared(
    make_config: Make, fields: dict[str, object]
) -> None:
    assert settings(make_config(**fields)) == settings(make_config())


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1}, {"space": {"steps": [1]}}, {"limits": {"min_retention": 0.1}},
        {"task": {"data": {"seed": 1}}}, {"task": {"teacher": {"iterations": 1}}},
        {"task": {"quality": {"samples": 99}}}, {"distillation": {"iterations": 1}},
        {"evaluator": "another"}, {"task": {"latency_batch": 1}},
    ],
)  # fmt: skip
def test_what_results_depend_on_is_compared(make_config: Make, fields: dict[str, object]) -> None:
    assert settings(make_config(**fields)) != settings(make_config())


def test_surroundings_are_device_and_digests_only() -> None:
    assert surroundings(FACTS) == {"device.device": "a", "digest.data": "1"}


def test_refusal_says_what_differs_and_proposes_a_free_name(make_config: Make) -> None:
    before, now = settings(make_config()), settings(make_config(task={"data": {"seed": 4}}))
    with pytest.raises(StudyError) as caught:
        refuse_changes("fake", before, now, ["fake", "fake-2"])
    assert "task.data.seed was 0 and is now 4" in str(caught.value)
    assert "--study fake-3" in str(caught.value)


def test_free_name_is_the_first_that_is_not_taken() -> None:
    assert free_name("a", []) == "a-2"
    assert free_name("a", ["a", "a-2", "a-3"]) == "a-4"
