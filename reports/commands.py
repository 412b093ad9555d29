"""The exact commands, and the lines of Python, that repeat a study and use its pick."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

from reports import wording
from studies.record import StudyRecord

DEFAULT_WORKSPACE = "ado-runs"
COPY = "pick"  # what a copy of the pick's folder is called
LOADING = """\
from pathlib import Path

from ado_nas import MLXDiffusionEngine  # before mlx, which it makes fast on this machine
from ado_nas.drawing import draw
import mlx.core as mx

engine = MLXDiffusionEngine({folder})
draw(engine.model, count=40, seed=0, label=None, out=Path("pick.png"))  # as `sample` does

# Or as an array, from noise of your own.
spec = engine.model.unet.spec
shape = (8, spec.resolution, spec.resolution, spec.in_channels)
noise = float(engine.model.levels[0]) * mx.random.normal(shape)
labels = mx.arange(8) % spec.num_classes if spec.num_classes else None
images = engine.reverse_diffusion(noise, labels=labels)  # (B, H, W, C), black is -1, white 1
"""


def commands(record: StudyRecord, workspace: Path) -> list[tuple[str, str]]:
    """What each command is for, and the command, quoted for a POSIX shell.

    Args:
        record: the study.
        workspace: where it lies; named in the commands unless it is the default.

    Returns:
        Pairs of purpose and command line.
    """
    where = [] if _is_default(workspace) else ["--workspace", str(workspace)]
    stored = [*_storage(record), *where]
    found = [
        ("Repeat the search under another name", _search(record, where)),
        (
            "Make this report again, with its figures as files",
            ["report", record.name, "--figures", "figures", *stored],
        ),
    ]
    if record.best is not None:
        number = str(record.best)
        drawn = ["--count", "40", "--seed", "0", "--out", "pick.png"]
        found += [
            ("Everything about the pick", ["show", record.name, "--trial", number, *stored]),
            ("Draw images with the pick", ["sample", f"{record.name}:{number}", *drawn, *stored]),
        ]
    found.append(("Browse the trials", ["dashboard", *stored]))
    return [(purpose, shlex.join(["python", "cli.py", *words])) for purpose, words in found]


def taking(record: StudyRecord, workspace: Path) -> list[tuple[str, str]]:
    """How the pick is loaded and taken elsewhere.

    Args:
        record: the study.
        workspace: where it lies.

    Returns:
        Pairs of purpose and text: lines of Python, then commands of a POSIX shell. Nothing where
        there is no pick, or no folder of it.
    """
    folder = _folder(record, workspace)
    if not folder:
        return []
    copied = f"cp -R {shlex.quote(folder)} {COPY}\n"
    used = shlex.join(["python", "cli.py", "sample", COPY, "--out", "pick.png"])
    return [
        ("Load the pick in Python", LOADING.format(folder=repr(folder)).rstrip()),
        (
            "Take it to another machine: its folder is the whole model, and these commands take "
            "the copy's name as well",
            copied + used,
        ),
    ]


def _folder(record: StudyRecord, workspace: Path) -> str:
    """Where the pick lies, as the commands write it; empty where nothing lies there."""
    kept = record.trial(record.best).folder if record.best is not None else ""
    if not kept:
        return ""
    place = os.path.relpath((workspace / kept).resolve(), workspace.resolve())
    return str(Path(DEFAULT_WORKSPACE) / place if _is_default(workspace) else workspace / place)


def _is_default(workspace: Path) -> bool:
    return workspace.resolve() == Path(DEFAULT_WORKSPACE).resolve()


def _storage(record: StudyRecord) -> list[str]:
    """Where the study is kept, unless that is the workspace; without a password."""
    url = str(record.config.get("storage") or "")
    return ["--storage", re.sub(r"(://[^:/@]+):[^@]*@", r"\1@", url)] if url else []


def _search(record: StudyRecord, where: list[str]) -> list[str]:
    settings = wording.flat(record.config)
    config = Path(*(where[1:] or [DEFAULT_WORKSPACE]), "studies", record.name, "config.toml")
    words = ["search", "--config", str(config), "--study", f"{record.name}-again"]
    return words + _flags(settings, ("trials", "seed")) + where


def _flags(settings: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return [w for n in names if n in settings for w in (f"--{n}", str(settings[n]))]
