"""The planner: through which numbers of steps a student is led to the last one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ado_nas.errors import SpecError

# By how much the trajectory error may grow within one stage. Up to 107 times, one stage of all
# iterations was better than two or three that share them (docs/decisions/0008).
REACH = 200.0
LOSSLESS = 0.01  # share of the one-step error that counts as none


@dataclass(frozen=True)
class Plan:
    """Stages by the steps after each, falling, and why."""

    original: int
    stages: tuple[int, ...]
    errors: tuple[float, ...]  # of 1, 2, ... T steps; see `error_curve`
    reason: str

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(steps before, steps after) of each stage."""
        return list(zip((self.original, *self.stages[:-1]), self.stages, strict=True))


def error_curve(costs: np.ndarray) -> tuple[float, ...]:
    """How far untrained DDIM steps stray from the teacher's trajectories.

    Args:
        costs: (T + 1, T + 1) from `jump_costs`.

    Returns:
        T values: the least summed squared distance of a path of 1, 2, ... T jumps.

    Source: Chen et al. 2024 (GITS), section 3.3; here the costs of the best paths themselves.
    """
    best = costs[:, -1]
    found = [float(best[0])]
    for _ in range(len(costs) - 2):
        best = np.min(costs + best[None, :], axis=1)
        found.append(float(best[0]))
    return tuple(found)


def plan(
    costs: np.ndarray,
    original: int,
    target: int,
    stages: Sequence[int] = (),
    count: int = 0,
    reach: float = REACH,
) -> Plan:
    """Choose the stages from the error curve, or check those that are asked for.

    A stage may multiply the error by at most `reach`: the fewest stages are taken that do, evenly
    apart in the logarithm of the error. Counting begins at the fewest steps that the teacher takes
    with next to no error.

    Args:
        costs: (T + 1, T + 1) of the teacher's trajectories.
        original: steps of the reference.
        target: steps of the last stage.
        stages: the steps after each stage; empty to choose.
        count: how many stages to choose; 0 for as many as are needed.
        reach: by how much the error may grow within a stage.

    Returns:
        The plan.

    Raises:
        SpecError: the target is not below the original, above what the trajectories hold, or the
            stages asked for do not fall to it.
    """
    errors, most = error_curve(costs), len(costs) - 1
    if not 1 <= target < original:
        raise SpecError(f"target of {target} steps from {original}: give 1 to {original - 1}")
    if target > most:
        raise SpecError(
            f"target of {target} steps: the trajectories hold {most}; raise trajectories.levels"
        )
    if stages:
        return Plan(original, _checked(stages, original, target, most), errors, "as asked for")
    begin = next(n for n in range(1, most + 1) if errors[n - 1] <= LOSSLESS * errors[0])
    begin = max(begin, min(target + 1, most))
    ratio = errors[target - 1] / max(errors[begin - 1], 1e-4 * errors[0])
    needed = max(1, int(np.ceil(np.log(max(ratio, 1.0)) / np.log(reach) - 1e-9)))
    wanted = count or needed
    found = _apart(errors, begin, target, wanted)
    reason = (
        f"{begin} steps stray by {errors[begin - 1]:.2g} from the teacher's path, {target} by "
        f"{errors[target - 1]:.2g}, {ratio:.0f} times as far: {needed} stage"
        f"{'s' if needed > 1 else ''} of at most {reach:g} times each"
        + (f"; {count} were asked for" if count else "")
        + (f", of which {len(found)} differ" if len(found) < wanted else "")
    )
    return Plan(original, found, errors, reason)


def between(errors: Sequence[float], before: int, after: int) -> int | None:
    """A number of steps between two, halfway in the logarithm of the error.

    Args:
        errors: of 1, 2, ... T steps.
        before: steps of the stage that passed; those above T count as T.
        after: steps of the stage that failed.

    Returns:
        The steps, or None where there is no number between.
    """
    high = min(before, len(errors) + 1)
    if high - after < 2:
        return None
    low = max(errors[min(high, len(errors)) - 1], 1e-4 * errors[0])
    return _nearest(errors, np.sqrt(low * errors[after - 1]), after + 1, high - 1)


def halvings(original: int, target: int) -> tuple[int, ...]:
    """The stages of chained distillation: halved to the target from the most steps below original.

    Args:
        original: steps of the reference.
        target: steps of the last stage.

    Source: Salimans and Ho 2022, algorithm 2.
    """
    found = [target]
    while 2 * found[-1] < original:
        found.append(2 * found[-1])
    return tuple(reversed(found))


def _apart(errors: Sequence[float], begin: int, target: int, count: int) -> tuple[int, ...]:
    low, high = max(errors[begin - 1], 1e-4 * errors[0]), errors[target - 1]
    found: list[int] = []
    for i in range(1, count):
        wanted = low * (high / low) ** (i / count)
        most = min(begin, found[-1]) - 1 if found else begin - 1
        if most <= target:
            break
        found.append(_nearest(errors, wanted, target + 1, most))
    return (*found, target)


def _nearest(errors: Sequence[float], wanted: float, low: int, high: int) -> int:
    logs = np.log(np.maximum(errors[low - 1 : high], 1e-12))
    return low + int(np.argmin(np.abs(logs - np.log(wanted))))


def _checked(stages: Sequence[int], original: int, target: int, most: int) -> tuple[int, ...]:
    falling = all(a > b for a, b in zip((original, *stages), stages, strict=False))
    if not falling or stages[-1] != target or stages[0] > most:
        raise SpecError(
            f"stages {','.join(map(str, stages))}: give falling numbers of steps, at most {most} "
            f"(the trajectories' levels), the last one {target} (the target)"
        )
    return tuple(stages)
