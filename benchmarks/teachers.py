"""Trains the teachers under ``benchmarks/assets``: ``python -m benchmarks.teachers shapes16``.

A preset's teacher is looked for there before it is trained (`ado_nas.training.teacher.shipped`),
so that claims are made on one that was trained for as long as it takes.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ado_nas.bench import fitted
from ado_nas.data import load
from ado_nas.errors import ConfigError
from ado_nas.modelfolder import CARD, SAMPLER, SPEC, WEIGHTS, load_model
from ado_nas.training.teacher import SHIPPED, train_teacher
from reports import terminal
from studies.config import resolve
from studies.folders import open_workspace


def make(preset: str, workspace: Path) -> Path:
    """Train a preset's teacher, or take up its training, and put it where it is committed.

    Args:
        preset: its name.
        workspace: its cache is used; the training goes on there where it was interrupted.

    Returns:
        The folder under ``benchmarks/assets``.

    Raises:
        ConfigError: it is there already.
    """
    place = SHIPPED / preset
    if (place / CARD).exists():
        raise ConfigError(f"{place} is there already; move it away to make it anew")
    task = resolve(preset).task
    cache = open_workspace(workspace) / "cache"
    dataset = load(task.data, cache)
    spec, limits = fitted(task, dataset).teacher, task.trajectories
    levels = limits.sigma_min, limits.sigma_max
    with terminal.progress() as progress:
        made = train_teacher(spec, dataset, cache / "teachers", task.reference, levels, progress)
    place.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, SPEC, SAMPLER, CARD):
        shutil.copyfile(made / name, place / name)
    return place


if __name__ == "__main__":
    for name in sys.argv[1:]:
        found = load_model(make(name, Path("ado-runs")))
        print(f"{found.folder}: {found.card['weights_sha256']}")
