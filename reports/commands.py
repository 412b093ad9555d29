"""The exact commands that repeat a study and use its pick."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from reports import wording
from studies.record import StudyRecord

DEFAULT_WORKSPACE = "ado-runs"


def commands(record: StudyRecord, workspace: Path) -> list[tuple[str, str]]:
    """What each command is for, and the command, quoted for a POSIX shell.

    Args:
        record: the study.
        workspace: where it lies; named in the commands unless it is the default.

    Returns:
        Pairs of purpose and command line.
    """
    default = Path(DEFAULT_WORKSPACE).resolve()
    where = [] if workspace.resolve() == default else ["--workspace", str(workspace)]
    found = [
        ("Repeat the search under another name", _search(record, where)),
        ("Make this report again", ["report", record.name, *where]),
    ]
    if record.best is not None:
        model = f"{record.name}:{record.best}"
        found += [
            (
                "Everything about the pick",
                ["show", record.name, "--trial", str(record.best), *where],
            ),
            ("Draw images with the pick", ["sample", model, *where]),
        ]
    found.append(("Browse the trials", ["dashboard", *where]))
    return [(purpose, shlex.join(["python", "cli.py", *words])) for purpose, words in found]


def _search(record: StudyRecord, where: list[str]) -> list[str]:
    settings = wording.flat(record.config)
    config = Path(*(where[1:] or [DEFAULT_WORKSPACE]), "studies", record.name, "config.toml")
    words = ["search", "--config", str(config), "--study", f"{record.name}-again"]
    return words + _flags(settings, ("trials", "seed")) + where


def _flags(settings: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return [w for n in names if n in settings for w in (f"--{n}", str(settings[n]))]
