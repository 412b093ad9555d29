"""Colors that the color-blind tell apart, for light and dark paper (after Okabe and Ito).

Every role has a marker shape of its own too, so that color never carries a meaning alone.
"""

from __future__ import annotations

from collections.abc import Sequence

ROLES: dict[str, str] = {
    "front": "On the front",
    "unrepeated": "On the front, did not repeat",
    "overtaken": "On the front, dominated when measured again",
    "dominated": "Dominated",
    "infeasible": "Scored, but over a limit",
    "stopped": "Stopped before scoring",
    "training_free": "Teacher with fewer steps, no training",
    "teacher": "Reference",
}
"""What each role is called in the legend."""

SYMBOLS: dict[str, str] = {
    "front": "circle",
    "unrepeated": "circle-x-open",
    "overtaken": "circle-cross-open",
    "dominated": "circle-open",
    "infeasible": "x-thin-open",
    "stopped": "line-ns-open",
    "training_free": "diamond-open",
    "teacher": "star",
}

_FILLED = ("circle", "square", "diamond", "cross", "triangle-up", "triangle-down")
STUDIES = (*_FILLED, *(f"{name}-open" for name in _FILLED))
"""The marks of studies that are drawn together; as many can be told apart."""


def study_role(place: int) -> str:
    """The role of the study at a place in a list, from 0."""
    return f"study_{place + 1}"


def _studies(colors: Sequence[str]) -> dict[str, str]:
    """The colors of studies; marks go on where these start again."""
    return {study_role(i): colors[i % len(colors)] for i in range(len(STUDIES))}


LIGHT: dict[str, str] = {
    "paper": "#ffffff",
    "panel": "#f6f7f9",
    "ink": "#16191d",
    "muted": "#5a636e",
    "rule": "#dfe3e8",
    "link": "#005f99",
    "front": "#0072b2",
    "unrepeated": "#0072b2",
    "overtaken": "#0072b2",
    "dominated": "#87919c",
    "infeasible": "#b5528a",
    "stopped": "#b5528a",
    "training_free": "#d55e00",
    "teacher": "#00875f",
    **_studies(("#0072b2", "#d55e00", "#00875f", "#b5528a", "#8a6a00", "#5a636e")),
}

DARK: dict[str, str] = {
    "paper": "#121517",
    "panel": "#1b1f23",
    "ink": "#eceff2",
    "muted": "#a3adb8",
    "rule": "#30363d",
    "link": "#7cc4f2",
    "front": "#56b4e9",
    "unrepeated": "#56b4e9",
    "overtaken": "#56b4e9",
    "dominated": "#7d8894",
    "infeasible": "#e08fbe",
    "stopped": "#e08fbe",
    "training_free": "#f0a04b",
    "teacher": "#35c9a0",
    **_studies(("#56b4e9", "#f0a04b", "#35c9a0", "#e08fbe", "#e0cd55", "#a3adb8")),
}


def variables(colors: dict[str, str]) -> str:
    """The colors as CSS custom properties.

    Args:
        colors: hexadecimal colors by role.

    Returns:
        Declarations such as ``--front:#0072b2;``.
    """
    return "".join(f"{variable(role)}:{color};" for role, color in colors.items())


def variable(role: str) -> str:
    """The CSS custom property of a role's color, such as ``--training-free``."""
    return f"--{role.replace('_', '-')}"
