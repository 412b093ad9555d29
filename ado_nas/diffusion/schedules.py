"""Schedules by name, and the one learned from trajectories by dynamic programming."""

from __future__ import annotations

import numpy as np

from ado_nas.diffusion.levels import (
    Levels,
    ays_levels,
    karras_levels,
    logsnr_levels,
    uniform_levels,
)
from ado_nas.errors import SpecError, nearest
from ado_nas.specs import SCHEDULES


def jump_costs(
    states: np.ndarray,
    denoised: np.ndarray,
    levels: Levels,
    sigma_data: float,
    power: float = 1.0,
) -> np.ndarray:
    """What one DDIM jump between any two levels of a trajectory costs at the trajectory's end.

    A landing that is off by so much at a high noise level hardly moves the image that comes of it:
    for Gaussian data what is left of it is sigma_data^2 / (sigma^2 + sigma_data^2) of its square.

    Args:
        states: (T + 1, M, ...) teacher states at `levels`.
        denoised: (T, M, ...) the teacher's denoised images there.
        levels: (T + 1,), falling, the last 0.
        sigma_data: standard deviation of the data.
        power: of the share that is left; 0 counts a miss where it lands.

    Returns:
        (T + 1, T + 1) float64: mean squared distance from the landing of i -> j to the teacher's
        state at j, carried to the end; infinite where j <= i.

    Source: Chen et al. 2024 (GITS), section 3.3, with a squared distance; the share that is left
    is that of the probability-flow equation for Gaussian data (Karras et al. 2022, eq. 4).
    """
    count = len(levels)
    costs = np.full((count, count), np.inf)
    flat = states.reshape(count, -1)
    clean = denoised.reshape(count - 1, -1)
    left = (sigma_data**2 / (levels**2 + sigma_data**2)) ** power
    for i in range(count - 1):
        ratios = levels[i + 1 :, None] / levels[i]
        landed = ratios * flat[i] + (1 - ratios) * clean[i]
        costs[i, i + 1 :] = left[i + 1 :] * np.mean((landed - flat[i + 1 :]) ** 2, axis=1)
    return costs


def deviation_costs(states: np.ndarray, denoised: np.ndarray, levels: Levels) -> np.ndarray:
    """How much farther from the straight way to the trajectory's end a DDIM jump lands.

    Args:
        states: (T + 1, M, ...) teacher states at `levels`.
        denoised: (T, M, ...) the teacher's denoised images there.
        levels: (T + 1,), falling, the last 0.

    Returns:
        (T + 1, T + 1) float64: mean distance of the landing of i -> j from the line between the
        trajectory's ends, less that of the teacher's state at j; infinite where j <= i.

    Source: Chen et al. 2024 (GITS), section 3.3; the metric ``dev`` of its code.
    """
    count = len(levels)
    flat = states.reshape(count, states.shape[1], -1).astype(np.float64)
    clean = denoised.reshape(count - 1, states.shape[1], -1)
    end, way = flat[-1], flat[-1] - flat[0]
    way /= np.linalg.norm(way, axis=-1, keepdims=True)

    def off(x: np.ndarray) -> np.ndarray:
        left = end - x
        along = np.sum(left * way, axis=-1, keepdims=True)
        found: np.ndarray = np.linalg.norm(left - along * way, axis=-1)
        return found

    own = off(flat)
    costs = np.full((count, count), np.inf)
    for i in range(count - 1):
        ratios = (levels[i + 1 :] / levels[i])[:, None, None]
        landed = ratios * flat[i] + (1 - ratios) * clean[i]
        costs[i, i + 1 :] = np.mean(off(landed) - own[i + 1 :], axis=1)
    return costs


def cheapest_path(costs: np.ndarray, steps: int, growth: float = 1.0) -> list[int]:
    """The cheapest path of exactly `steps` jumps from the first to the last level.

    Args:
        costs: (N, N), infinite where a jump is not allowed.
        steps: jumps, 1 to N - 1.
        growth: by which the costs of what follows count more with each jump.

    Returns:
        Indices of steps + 1 levels, from 0 to N - 1.

    Raises:
        SpecError: more steps than levels.

    Source: Nguyen et al. 2023 (BOSS), algorithm 1; Chen et al. 2024 (GITS), algorithm 1, whose
    gamma is `growth`.
    """
    path = [0]
    for jumps in reversed(first_jumps(costs, steps, growth)):
        path.append(int(jumps[path[-1]]))
    return path


def first_jumps(costs: np.ndarray, steps: int, growth: float = 1.0) -> np.ndarray:
    """Where the cheapest paths go first, from each level and for each number of jumps left.

    Args:
        costs: (N, N), infinite where a jump is not allowed.
        steps: jumps at most, 1 to N - 1.
        growth: as in `cheapest_path`.

    Returns:
        (steps, N) indices: row k for paths of k + 1 jumps to the last level. Where so many do not
        fit any more, as with one jump less; the last level leads to itself.

    Raises:
        SpecError: more steps than levels.
    """
    count = len(costs)
    if not 1 <= steps < count:
        raise SpecError(f"{steps} steps on a grid of {count - 1}: give 1 to {count - 1}")
    best = costs[:, -1]
    found = [np.full(count, count - 1)]
    for _ in range(steps - 1):
        through = costs + growth * best[None, :]
        best = np.min(through, axis=1)
        found.append(np.where(np.isfinite(best), np.argmin(through, axis=1), found[-1]))
    return np.array(found)


def closed_form(
    schedule: str, nfe: int, sigma_min: float, sigma_max: float, sigma_data: float
) -> Levels:
    """Levels that need no model.

    Args:
        schedule: uniform, karras, logsnr or ays.
        nfe: network evaluations, T.
        sigma_min: last positive level.
        sigma_max: first level.
        sigma_data: standard deviation of the data; ays alone.

    Returns:
        (T + 1,), falling, the last 0.
    """
    if schedule == "ays":
        return ays_levels(nfe, sigma_min, sigma_max, sigma_data)
    forms = {"uniform": uniform_levels, "karras": karras_levels, "logsnr": logsnr_levels}
    return forms[schedule](nfe, sigma_min, sigma_max)


def named_levels(
    schedule: str,
    nfe: int,
    sigma_min: float,
    sigma_max: float,
    sigma_data: float,
    costs: np.ndarray | None = None,
    grid: Levels | None = None,
) -> Levels:
    """Levels of a schedule by its name.

    Args:
        schedule: a closed form (see `closed_form`), or dp.
        nfe: network evaluations, T.
        sigma_min: last positive level of the closed forms.
        sigma_max: first level.
        sigma_data: standard deviation of the data.
        costs: (N, N) from `jump_costs`; dp alone.
        grid: (N,) levels that `costs` belongs to; dp alone.

    Returns:
        (T + 1,), falling, the last 0.

    Raises:
        SpecError: the name is unknown, or dp has no trajectories to learn from.
    """
    if schedule not in SCHEDULES:
        raise SpecError(f"schedule {schedule!r} is unknown; {nearest(schedule, SCHEDULES)}")
    if schedule != "dp":
        return closed_form(schedule, nfe, sigma_min, sigma_max, sigma_data)
    if costs is None or grid is None:
        raise SpecError("schedule 'dp' is learned from trajectories; none were given")
    return grid[cheapest_path(costs, nfe)]
