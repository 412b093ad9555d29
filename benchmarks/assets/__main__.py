"""Train the teacher of a preset and keep it here: ``python -m benchmarks.assets PRESET``.

Stopped with Ctrl-C it goes on from its last checkpoint when started again.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from ado_nas.data import load
from ado_nas.modelfolder import CARD, SAMPLER, SPEC, WEIGHTS
from ado_nas.training.teacher import train_teacher
from studies.config import resolve


def main(preset: str) -> None:
    """Train, then copy the model folder beside this file."""
    task = resolve(preset).task
    cache = Path(os.environ.get("ADO_WORKSPACE", "ado-runs")) / "cache"
    limits = (task.trajectories.sigma_min, task.trajectories.sigma_max)
    started = time.monotonic()

    def show(stage: str, done: int, total: int, note: str = "") -> None:
        if done % 100 == 0:
            print(f"{stage} {done}/{total} {note} {time.monotonic() - started:.0f} s", flush=True)

    dataset = load(task.data, cache)
    made = train_teacher(task.teacher, dataset, cache / "teachers", task.reference, limits, show)
    kept = Path(__file__).parent / preset
    kept.mkdir(exist_ok=True)
    for name in (WEIGHTS, SPEC, SAMPLER, CARD):
        shutil.copyfile(made / name, kept / name)
    print(kept)


if __name__ == "__main__":
    main(sys.argv[1])
