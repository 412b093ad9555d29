"""The bank of teacher trajectories: made once, memory-mapped by everybody who trains on it."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.diffusion.levels import Levels, karras_levels
from ado_nas.diffusion.sampling import balanced_labels, noise, sampling_threads, steps
from ado_nas.diffusion.schedules import jump_costs, named_levels
from ado_nas.errors import Diverged
from ado_nas.files import building, read_json, replacing, sha256, write_json
from ado_nas.measure import lock
from ado_nas.modelfolder import Model
from ado_nas.progress import Progress, silent
from ado_nas.specs import TrajectorySpec, UNetSpec, digest, to_dict

SCHEMA = 2  # raise it when states or costs change
STATES, META = "states.npy", "bank.json"
_COST_SAMPLES = 256
_BATCH = 128


@dataclass(frozen=True, eq=False)
class Bank:
    """Trajectories of one teacher.

    `states` is (T + 1, M, H, W, C) float32, memory-mapped, state t at noise level `levels[t]`;
    `labels` (M,) int32 or None; `costs` (T + 1, T + 1) as `jump_costs` gives them; `sigma_data`
    the standard deviation of the teacher's data.
    """

    states: np.ndarray
    labels: np.ndarray | None
    levels: Levels
    costs: np.ndarray
    key: str
    sigma_data: float = UNetSpec.sigma_data

    def schedule(self, name: str, count: int) -> list[int]:
        """Indices of the levels a student of `count` steps visits, from 0 to T.

        Args:
            name: dp for the path of least cost; else a closed form, moved to the nearest levels.
            count: steps, 1 to T.

        Returns:
            count + 1 indices, rising.
        """
        low, high = float(self.levels[-2]), float(self.levels[0])
        wanted = named_levels(name, count, low, high, self.sigma_data, self.costs, self.levels)
        return nearest_indices(wanted, self.levels)


def nearest_indices(wanted: Levels, grid: Levels) -> list[int]:
    """Move levels to the nearest ones of a grid, in log sigma, without meeting.

    Args:
        wanted: (S + 1,), falling, the last 0.
        grid: (T + 1,), falling, the last 0, S <= T.

    Returns:
        S + 1 rising indices; the last is T.
    """
    steps_left, last = len(wanted) - 1, len(grid) - 1
    logs = np.log(grid[:-1])
    chosen: list[int] = []
    for i, level in enumerate(wanted[:-1]):
        index = int(np.argmin(np.abs(logs - np.log(level))))
        low = chosen[-1] + 1 if chosen else 0
        chosen.append(min(max(index, low), last - (steps_left - i)))
    return [*chosen, last]


def bank_key(spec: TrajectorySpec, teacher_digest: str) -> str:
    """The cache key: everything that can change the states."""
    return digest("trajectories", SCHEMA, teacher_digest, to_dict(spec))


def build_bank(
    spec: TrajectorySpec, teacher: Model, cache: Path, progress: Progress = silent
) -> Bank:
    """Make the trajectories of a teacher, or open those already made.

    A file that is truncated, changed or belongs to something else is made again.

    Args:
        spec: how many, how long, by which solver.
        teacher: the model that draws them.
        cache: folder of all banks; this one lies under its key.
        progress: told after each batch.

    Returns:
        The bank.

    Raises:
        Diverged: a state is not finite.
    """
    key = bank_key(spec, digest(teacher.card["weights_sha256"], teacher.unet.spec.hash))
    with building(cache / key) as folder:
        meta = _valid(folder, key)
        if meta is None:
            meta = _draw(spec, teacher, folder, key, progress)
    return _open(folder, meta, teacher.unet.spec.sigma_data)


def _open(folder: Path, meta: dict[str, Any], sigma_data: float) -> Bank:
    states = np.load(folder / STATES, mmap_mode="r", allow_pickle=False)
    labels = balanced_labels(states.shape[1], meta["num_classes"])
    costs = np.array([[np.inf if c is None else c for c in row] for row in meta["costs"]])
    return Bank(states, labels, np.array(meta["levels"]), costs, meta["key"], sigma_data)


def _valid(folder: Path, key: str) -> dict[str, Any] | None:
    meta = read_json(folder / META)
    path = folder / STATES
    if not isinstance(meta, dict) or meta.get("key") != key or not path.is_file():
        return None
    return meta if sha256(path) == meta.get("states_sha256") else None


def _draw(
    spec: TrajectorySpec, teacher: Model, folder: Path, key: str, progress: Progress
) -> dict[str, Any]:
    unet = teacher.unet.spec
    levels = karras_levels(spec.levels, spec.sigma_min, spec.sigma_max)
    side, classes = unet.resolution, unet.num_classes
    start = noise(spec.seed, spec.count, (side, side, unet.in_channels))
    labels = balanced_labels(spec.count, classes)
    shape = (len(levels), *start.shape)
    started = time.monotonic()
    with replacing(folder / STATES) as partial:
        states = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
        _reserve(partial)
        for a in range(0, spec.count, _BATCH):
            rows = slice(a, min(a + _BATCH, spec.count))
            chosen = None if labels is None else mx.array(labels[rows])
            with lock.shared(), sampling_threads(unet, rows.stop - rows.start):
                run = steps(
                    teacher.unet, spec.solver, levels, mx.array(start[rows]), chosen, spec.guidance
                )
                for t, state in enumerate(run):
                    states[t, rows] = np.array(state)
            progress("trajectories", rows.stop, spec.count)
        if not np.isfinite(states[-1]).all():
            raise Diverged("the teacher's trajectories hold values that are not finite")
        few = np.array(states[:, :_COST_SAMPLES])
        states.flush()
        del states
    costs = jump_costs(few, implied_denoised(few, levels), levels, unet.sigma_data)
    meta = {
        "key": key,
        "spec": to_dict(spec),
        "levels": levels.tolist(),
        "num_classes": classes,
        "costs": [[None if np.isinf(c) else float(c) for c in row] for row in costs],
        "states_sha256": sha256(folder / STATES),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(folder / META, meta)
    return meta


def _reserve(path: Path) -> None:
    """Take the space of a file now: a mapped page that finds none later ends the process."""
    if not hasattr(os, "posix_fallocate"):  # on macOS
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # of the file system
                raise


def implied_denoised(states: np.ndarray, levels: Levels) -> np.ndarray:
    """The denoised image that carries each state to the next in one DDIM step.

    Args:
        states: (T + 1, M, ...).
        levels: (T + 1,), falling, the last 0.

    Returns:
        (T, M, ...).
    """
    shape = (-1,) + (1,) * (states.ndim - 1)
    ratio = (levels[1:] / levels[:-1]).reshape(shape)
    implied: np.ndarray = ((states[1:] - ratio * states[:-1]) / (1 - ratio)).astype(np.float32)
    return implied
