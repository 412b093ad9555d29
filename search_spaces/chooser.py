"""Who makes the choices: an Optuna trial, chance, or a fixed list."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, cast

from ado_nas.errors import SpecError, nearest

Choice = str | int | float | bool | None
C = TypeVar("C", bound=Choice)


class Chooser(Protocol):
    """Makes one choice at a time, by name; an `optuna.Trial` is one."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """An integer between `low` and `high`, both included."""

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """A number between `low` and `high`."""

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        """One of `choices`."""


class RandomChooser:
    """Chooses uniformly; the same seed makes the same choices.

    Args:
        seed: of its own generator.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """An integer between `low` and `high`, both included."""
        return self._random.randint(low, high)

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return self._random.uniform(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        """One of `choices`."""
        return choices[self._random.randrange(len(choices))]


class FixedChooser:
    """Chooses what it was given.

    Args:
        params: a value for each name that will be asked for.
    """

    def __init__(self, params: Mapping[str, Choice]) -> None:
        self._params = dict(params)

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """The given integer.

        Raises:
            SpecError: it is missing or outside of `low` to `high`.
        """
        return int(self._within(name, low, high))

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """The given number.

        Raises:
            SpecError: it is missing or outside of `low` to `high`.
        """
        return float(self._within(name, low, high))

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        """The given choice.

        Raises:
            SpecError: it is missing or none of `choices`.
        """
        value = self._given(name)
        for choice in choices:
            if choice == value and type(choice) is type(value):
                return choice
        raise SpecError(f"{name} {value!r} is no choice; {nearest(str(value), map(str, choices))}")

    def _given(self, name: str) -> Choice:
        if name not in self._params:
            raise SpecError(f"no value for {name!r}; given: {', '.join(self._params) or 'none'}")
        return self._params[name]

    def _within(self, name: str, low: float, high: float) -> float:
        value = self._given(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SpecError(f"{name} is {value!r}; give a number from {low} to {high}")
        if not low <= value <= high:
            raise SpecError(f"{name} {value}: give {low} to {high}")
        return value


def choose(chooser: Chooser, name: str, choices: tuple[C, ...]) -> C:
    """Ask the chooser, unless there is nothing to choose.

    Args:
        chooser: who chooses.
        name: of the dimension.
        choices: at least one.

    Returns:
        One of `choices`.
    """
    if len(choices) == 1:
        return choices[0]
    return cast(C, chooser.suggest_categorical(name, choices))
