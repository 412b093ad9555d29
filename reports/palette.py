"""Colors that the color-blind tell apart, for light and dark paper (after Okabe and Ito).

Every role has a marker shape of its own too, so that color never carries a meaning alone.
"""

from __future__ import annotations

ROLES: dict[str, str] = {
    "front": "On the front",
    "dominated": "Dominated",
    "infeasible": "Scored, but over a limit",
    "stopped": "Stopped before scoring",
    "training_free": "Teacher with fewer steps, no training",
    "teacher": "Reference",
}
"""What each role is called in the legend."""

SYMBOLS: dict[str, str] = {
    "front": "circle",
    "dominated": "circle-open",
    "infeasible": "x-thin-open",
    "stopped": "line-ns-open",
    "training_free": "diamond-open",
    "teacher": "star",
}

LIGHT: dict[str, str] = {
    "paper": "#ffffff",
    "panel": "#f6f7f9",
    "ink": "#16191d",
    "muted": "#5a636e",
    "rule": "#dfe3e8",
    "link": "#005f99",
    "front": "#0072b2",
    "dominated": "#87919c",
    "infeasible": "#b5528a",
    "stopped": "#b5528a",
    "training_free": "#d55e00",
    "teacher": "#00875f",
}

DARK: dict[str, str] = {
    "paper": "#121517",
    "panel": "#1b1f23",
    "ink": "#eceff2",
    "muted": "#a3adb8",
    "rule": "#30363d",
    "link": "#7cc4f2",
    "front": "#56b4e9",
    "dominated": "#7d8894",
    "infeasible": "#e08fbe",
    "stopped": "#e08fbe",
    "training_free": "#f0a04b",
    "teacher": "#35c9a0",
}


def variables(colors: dict[str, str]) -> str:
    """The colors as CSS custom properties.

    Args:
        colors: hexadecimal colors by role.

    Returns:
        Declarations such as ``--front:#0072b2;``.
    """
    return "".join(f"--{role.replace('_', '-')}:{color};" for role, color in colors.items())
