"""Steps by content: what two probing evaluations tell of an image chooses how many it gets."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.adaptive.compaction import Next, in_batches
from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.refine import Features, Refinement, refine
from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.schedules import cheapest_path
from ado_nas.diffusion.solvers import Point
from ado_nas.distillation.trajectories import Bank
from ado_nas.errors import Diverged, SpecError
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress, silent
from ado_nas.quality.frechet import Gaussian, distance

PROBES = 2
STATISTICS = ("curvature", "change", "spread", "roughness")
_BINS = 12
_WIDE = 6  # bins of a rule whose budgets are searched together


@dataclass(frozen=True, eq=False)
class Budgets:
    """Schedules that begin alike and end after fewer or more evaluations.

    `levels` holds for each number of evaluations (n + 1,) levels, falling, the last 0; the first
    two are the same in all.
    """

    solver: str
    levels: Mapping[int, Levels]

    @property
    def first(self) -> float:
        """The level that all begin at."""
        return float(next(iter(self.levels.values()))[0])


@dataclass(frozen=True, eq=False)
class Complexity:
    """A learned rule from the probes' statistics to a number of evaluations.

    The score of an image is `weights` (S,) times its statistics' logarithms, which are brought to
    mean 0 and deviation 1 by `mean` and `scale` (S,). `edges` (K - 1,) part the scores into bins,
    and `budgets` (K,) gives the evaluations of each.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    edges: np.ndarray
    budgets: np.ndarray

    def score(self, statistics: np.ndarray) -> np.ndarray:
        """How hard images are found to be, (B,); more is harder."""
        found: np.ndarray = ((statistics - self.mean) / self.scale) @ self.weights
        return found

    def choose(self, statistics: np.ndarray) -> np.ndarray:
        """The evaluations each image gets, (B,), of its statistics (B, S)."""
        found: np.ndarray = self.budgets[np.searchsorted(self.edges, self.score(statistics))]
        return found

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {name: value.tolist() for name, value in vars(self).items()}


def budgets(
    bank: Bank,
    solver: str,
    counts: Sequence[int],
    costs: np.ndarray | None = None,
    probe: int | None = None,
) -> Budgets:
    """Schedules with common probes, each the cheapest after them.

    Args:
        bank: the trajectories.
        solver: of one evaluation a step.
        counts: numbers of evaluations, each at least 2.
        costs: of the jumps between their levels; None for those of the trajectories.
        probe: place of the second level; None for that of the cheapest path of the middle count.

    Returns:
        The schedules.

    Raises:
        SpecError: a count is below 2 or above what the trajectories hold.
    """
    most = len(bank.levels) - 1
    if min(counts) < PROBES or max(counts) > most:
        raise SpecError(f"budgets {tuple(counts)}: give {PROBES} to {most} evaluations")
    costs = bank.costs if costs is None else costs
    if probe is None:
        probe = cheapest_path(costs, sorted(counts)[len(counts) // 2])[1]
    found = {}
    for count in sorted(counts):
        rest = cheapest_path(costs[probe:, probe:], count - 1)
        found[count] = bank.levels[[0, *(probe + i for i in rest)]]
    return Budgets(solver, found)


def refined(
    unet: UNet,
    schedules: Budgets,
    bank: Bank,
    features: Features,
    spec: Refinement,
    guidance: float = 1.0,
    progress: Progress = silent,
) -> Budgets:
    """The schedules with the levels after the probes moved by their gradient; see `refine`.

    Args:
        unet: the network.
        schedules: where to begin; those with nothing to move stay, and those that diverge.
        bank: the teacher's trajectories.
        features: of images.
        spec: iterations, batch and rate.
        guidance: weight of classifier-free guidance; 1 is off.
        progress: told of the iterations.
    """
    alone = dataclasses.replace(spec, told=False, fixed=PROBES)
    found = dict(schedules.levels)
    for count, levels in schedules.levels.items():
        if count > PROBES:
            start = Recipe(schedules.solver, "dp", levels)
            with contextlib.suppress(Diverged):
                moved = refine(unet, start, bank, features, alone, guidance, progress).levels
                # Not by a rounding error apart.
                found[count] = np.concatenate([levels[:PROBES], moved[PROBES:]])
    return Budgets(schedules.solver, found)


def statistics(past: Sequence[Point]) -> np.ndarray:
    """What the last two evaluations tell of each image.

    Args:
        past: evaluations, at least two.

    Returns:
        (B, 4), logarithms of: how much the slope turned, relative to its length; how much the
        denoised image changed; the deviation of the denoised image's pixels; and the mean
        difference of neighboring pixels.
    """
    before, now = past[-2], past[-1]
    turn = _norm(now.slope - before.slope) / _norm(before.slope)
    change = _norm(now.d - before.d) / np.sqrt(np.prod(now.d.shape[1:]))
    spread = mx.sqrt(mx.var(now.d, axis=(1, 2, 3)))
    across = mx.mean(mx.abs(now.d[:, :, 1:] - now.d[:, :, :-1]), axis=(1, 2, 3))
    down = mx.mean(mx.abs(now.d[:, 1:] - now.d[:, :-1]), axis=(1, 2, 3))
    found = mx.stack([turn, change, spread, across + down], axis=1)
    logs: np.ndarray = np.log(np.maximum(np.array(found), 1e-6)).astype(np.float64)
    return logs


def fit(
    seen: np.ndarray, errors: np.ndarray, counts: Sequence[int], mean_nfe: float
) -> Complexity:
    """Learn the rule that leaves the least error at a mean number of evaluations.

    Args:
        seen: (M, S) statistics.
        errors: (M, K) error of each image with each of `counts` evaluations.
        counts: (K,), rising.
        mean_nfe: that may be spent on average.

    Returns:
        The rule. Its score predicts, linearly, the logarithm of what the last count gains over
        the first; within bins of equal score, each budget's mean error and a price for each
        evaluation decide, and the price is the lowest that keeps the mean.
    """
    mean, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-9
    z = (seen - mean) / scale
    gain = np.log(np.maximum(errors[:, 0] - errors[:, -1], 1e-9) + errors[:, 0].mean() * 0.05)
    ridge = z.T @ z + 1e-2 * len(z) * np.eye(z.shape[1])
    weights = np.linalg.solve(ridge, z.T @ (gain - gain.mean()))
    score = z @ weights
    edges = np.quantile(score, np.arange(1, _BINS) / _BINS)
    bins = np.searchsorted(edges, score)
    # A bin that is empty, as where all scores are equal, counts as the whole.
    each = ((bins == b) if np.any(bins == b) else slice(None) for b in range(_BINS))
    table = np.array([errors[rows].mean(axis=0) for rows in each])
    share = np.bincount(bins, minlength=_BINS) / len(bins)
    return Complexity(mean, scale, weights, edges, affordable(table, share, counts, mean_nfe))


def fit_to_gap(
    seen: np.ndarray, features: np.ndarray, real: Gaussian, counts: Sequence[int], mean_nfe: float
) -> Complexity:
    """Learn the rule that leaves the least gap of all images at a mean number of evaluations.

    What an image gains by itself is not what the gap measures (docs/decisions/0017).

    Args:
        seen: (M, S) statistics; one that is the same for all tells nothing.
        features: (K, M, D) of each image with each of `counts` evaluations.
        real: of the images that the gap is to.
        counts: (K,), rising.
        mean_nfe: that may be spent on average.

    Returns:
        The rule. Its score is one statistic, up or down being learned; in bins of equal size by
        it the budgets are those that no change of a bin's, or of two bins', betters.
    """
    mean, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-9
    found: list[tuple[float, Complexity]] = []
    for weights in np.eye(seen.shape[1]):
        score = ((seen - mean) / scale) @ weights
        edges = np.quantile(score, np.arange(1, _WIDE) / _WIDE)
        mixture = _Mixture.of(features, np.searchsorted(edges, score), real)
        gap, places = mixture.cheapest(np.asarray(counts), mean_nfe)
        rule = Complexity(mean, scale, weights, edges, np.asarray(counts)[places])
        found.append((gap, rule))
    return min(found, key=lambda pair: pair[0])[1]


@dataclass(frozen=True, eq=False)
class _Mixture:
    """The moments of the features in R bins with each of K budgets: what the gap needs."""

    real: Gaussian
    sizes: np.ndarray  # (R,) images
    sums: np.ndarray  # (R, K, D)
    products: np.ndarray  # (R, K, D, D)

    @classmethod
    def of(cls, features: np.ndarray, bins: np.ndarray, real: Gaussian) -> _Mixture:
        sizes = np.bincount(bins, minlength=_WIDE)
        parts = [features[:, bins == b].astype(np.float64) for b in range(_WIDE)]
        products = np.array([np.einsum("kmi,kmj->kij", x, x) for x in parts])
        return cls(real, sizes, np.array([x.sum(axis=1) for x in parts]), products)

    def gap(self, places: np.ndarray) -> float:
        """Of the whole where each bin has the budget at its place, with a constant bias."""
        rows, count = np.arange(_WIDE), int(self.sizes.sum())
        mean = self.sums[rows, places].sum(axis=0) / count
        second = self.products[rows, places].sum(axis=0)
        covariance = (second - count * np.outer(mean, mean)) / (count - 1)
        return distance(self.real, Gaussian(mean, covariance, covariance, count))

    def cheapest(self, counts: np.ndarray, mean_nfe: float) -> tuple[float, np.ndarray]:
        """The least gap that descents from equal budgets come to, and its places (R,)."""
        alike = [np.full(_WIDE, k) for k in np.flatnonzero(counts <= mean_nfe)]
        return min((self._descent(places, counts, mean_nfe) for places in alike), key=_first)

    def _descent(
        self, places: np.ndarray, counts: np.ndarray, mean_nfe: float
    ) -> tuple[float, np.ndarray]:
        gap, most = self.gap(places), mean_nfe * self.sizes.sum() + 1e-6
        while True:
            near = [p for p in _near(places, len(counts)) if self.sizes @ counts[p] <= most]
            best = min(((self.gap(p), p) for p in near), key=_first)
            if best[0] >= gap:
                return gap, places
            gap, places = best


def _near(places: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The same with the budget of one bin changed, or of one and another's next to its own."""
    yield places
    for bin_ in range(len(places)):
        for k in range(count):
            changed = places.copy()
            changed[bin_] = k
            yield changed
            for other in range(len(places)):
                for step in (-1, 1):
                    if other != bin_ and 0 <= changed[other] + step < count:
                        twice = changed.copy()
                        twice[other] += step
                        yield twice


def _first(pair: tuple[float, Any]) -> float:
    return pair[0]


def affordable(
    errors: np.ndarray, share: np.ndarray, counts: Sequence[int], mean_nfe: float
) -> np.ndarray:
    """The budgets of least error where each evaluation has the lowest price that keeps the mean.

    Args:
        errors: (R, K), of each kind of image with each of `counts` evaluations.
        share: (R,), how many images are of each kind; they add up to 1.
        counts: (K,), rising.
        mean_nfe: that may be spent on average.

    Returns:
        (R,) evaluations.
    """
    nfe = np.asarray(counts)

    def chosen(price: float) -> np.ndarray:
        found: np.ndarray = nfe[np.argmin(errors + price * nfe, axis=1)]
        return found

    low, high = 0.0, float(errors.max())
    for _ in range(60):
        price = (low + high) / 2
        over = share @ chosen(price) > mean_nfe + 1e-9  # shares add up to 1 but for rounding
        low, high = (price, high) if over else (low, price)
    return chosen(high)


def sample(
    unet: UNet,
    schedules: Budgets,
    rule: Complexity,
    start: np.ndarray,
    labels: np.ndarray | None = None,
    guidance: float = 1.0,
    batch: int = 100,
    progress: Progress = silent,
) -> tuple[np.ndarray, np.ndarray]:
    """Images with as many evaluations as each one's content asks for.

    Args:
        unet: the network.
        schedules: of each budget.
        rule: chooses the budget.
        start: (N, H, W, C) standard normal noise.
        labels: (N,) int32, or None.
        guidance: weight of classifier-free guidance; 1 is off.
        batch: images at a time.
        progress: told after each batch.

    Returns:
        (N, H, W, C) float32 images, and (N,) evaluations spent on each.
    """
    return in_batches(
        unet,
        schedules.solver,
        schedules.first,
        lambda: Follower(schedules, rule),
        start,
        labels,
        guidance,
        batch,
        progress,
    )


class Follower:
    """Chooses each image's levels: common ones while probing, then those of its budget."""

    def __init__(self, schedules: Budgets, rule: Complexity):
        """Begin a batch."""
        self._schedules, self._rule = schedules, rule
        self._budget = np.zeros(0, np.int64)

    def __call__(self, done: int, rows: np.ndarray, past: list[Point]) -> np.ndarray:
        """The next level of each image in work; see `compaction.Next`."""
        every = self._schedules.levels
        if done < PROBES:
            return np.full(len(rows), next(iter(every.values()))[done])
        if done == PROBES:
            self._budget = self._rule.choose(statistics(past))
        table = np.zeros(max(every) + 1)
        for count, levels in every.items():
            table[count] = levels[min(done, count)]
        found: np.ndarray = table[self._budget[rows]]
        return found


def errors_by_budget(
    unet: UNet,
    schedules: Budgets,
    start: np.ndarray,
    labels: np.ndarray | None,
    guidance: float,
    batch: int,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Sample the same noise with every budget.

    Yields:
        The budget, (N, H, W, C) images, and (N, S) statistics of the probes.
    """
    for count, levels in schedules.levels.items():
        watchers: list[_Watcher] = []

        def following(levels: Levels = levels, kept: list[_Watcher] = watchers) -> Next:
            kept.append(_Watcher(levels))
            return kept[-1]

        solver, first = schedules.solver, schedules.first
        images, _ = in_batches(unet, solver, first, following, start, labels, guidance, batch)
        yield count, images, np.concatenate([w.seen for w in watchers])


class _Watcher:
    """Goes by one schedule and keeps the statistics of the probes."""

    def __init__(self, levels: Levels):
        self._levels = levels
        self.seen = np.zeros((0, len(STATISTICS)))

    def __call__(self, done: int, rows: np.ndarray, past: list[Point]) -> np.ndarray:
        if done == PROBES:
            self.seen = statistics(past)
        return np.full(len(rows), self._levels[done])


def _norm(x: mx.array) -> mx.array:
    return mx.sqrt(mx.sum(x * x, axis=(1, 2, 3)))
