from __future__ import annotations

import optuna
import pytest

from ado_nas.errors import SpecError
from search_spaces.chooser import Chooser, FixedChooser, RandomChooser, choose


def test_random_chooser_repeats_when_seeded_alike() -> None:
    def draws(seed: int) -> list[object]:
        c = RandomChooser(seed)
        return [c.suggest_int("i", 1, 9), c.suggest_float("f", 0, 1)] + [
            c.suggest_categorical("c", "abc") for _ in range(9)
        ]

    assert draws(1) == draws(1) != draws(2)


def test_random_chooser_reaches_every_choice_when_asked_often() -> None:
    chooser = RandomChooser(0)
    assert {chooser.suggest_categorical("c", (1, 2, 3)) for _ in range(60)} == {1, 2, 3}
    assert {chooser.suggest_int("i", 0, 2) for _ in range(60)} == {0, 1, 2}


def test_fixed_chooser_gives_back_what_it_was_given() -> None:
    chooser = FixedChooser({"a": 3, "b": 0.5, "c": "x"})
    assert chooser.suggest_int("a", 1, 3) == 3
    assert chooser.suggest_float("b", 0, 1) == 0.5
    assert chooser.suggest_categorical("c", ("x", "y")) == "x"


@pytest.mark.parametrize(
    ("params", "said"),
    [({}, "no value for 'a'"), ({"a": 9}, "a 9"), ({"a": "nine"}, "a is 'nine'")],
)
def test_fixed_chooser_refuses_when_the_value_cannot_be(
    params: dict[str, int | str], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        FixedChooser(params).suggest_int("a", 1, 3)


def test_fixed_chooser_names_the_nearest_when_the_choice_is_unknown() -> None:
    with pytest.raises(SpecError, match="did you mean 'full'"):
        FixedChooser({"a": "fulll"}).suggest_categorical("a", ("none", "full"))


def test_choose_asks_nobody_when_there_is_one_choice() -> None:
    assert choose(FixedChooser({}), "a", ("only",)) == "only"


def test_optuna_trial_is_a_chooser() -> None:
    trial: Chooser = optuna.trial.FixedTrial({"a": "x"})
    assert choose(trial, "a", ("x", "y")) == "x"
