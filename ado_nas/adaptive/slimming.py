"""How wide a slimmable network runs at each noise level: the least error within a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ado_nas.adaptive.calltimes import EVALUATIONS, timing_levels
from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import denoiser
from ado_nas.diffusion.sampling import sampling_threads
from ado_nas.diffusion.schedules import jump_costs
from ado_nas.distillation.trajectories import Bank
from ado_nas.errors import SpecError
from ado_nas.measure import lock
from ado_nas.measure.latency import time_in_turn
from ado_nas.measure.speed import sampling_call
from ado_nas.models.slices import Slice
from ado_nas.models.stepped import SteppedUNet
from ado_nas.models.tree import named_arrays
from ado_nas.models.unet import UNet, named_parameters
from ado_nas.widths import narrowed, settled

SHARES = (0.25, 0.5, 0.75, 1.0)
COUNT = 64  # trajectories that errors are measured on
_GRAINS = 1000  # a budget's parts, to which the time of each step is rounded up


@dataclass(frozen=True, eq=False)
class Widths:
    """Levels to visit and the width of the step from each."""

    levels: Levels  # (T + 1,), falling, the last 0
    shares: tuple[float, ...]  # (T,)
    error: float  # summed over the steps
    calls: float  # evaluations of the whole network that take as long


def cut(unet: UNet, share: float) -> UNet:
    """The leading channels of a network as one of its own.

    Args:
        unet: the wide network.
        share: of its widths.
    """
    spec = narrowed(unet.spec, share)
    if spec == unet.spec:
        return unet
    found = Slice(unet.spec, spec).network(dict(named_arrays(unet.parameters())))
    mx.eval(found.parameters())
    return found


def slimmed(unet: UNet, shares: tuple[float, ...]) -> UNet:
    """The network with a width for each step; itself where all steps are whole.

    Args:
        unet: the wide network.
        shares: of its widths at each step.
    """
    kept = settled(unet.spec, shares)
    if not kept:
        return unet
    found = SteppedUNet(unet.spec, kept)
    found.load_weights(list(named_parameters(unet)))
    mx.eval(found.parameters())
    return found


def call_prices(
    unet: UNet, shares: Sequence[float], batch: int = 16, guidance: float = 1.0
) -> np.ndarray:
    """What an evaluation at each width takes, measured, as a share of the whole network's.

    Args:
        unet: the wide network.
        shares: of its widths, S, rising; the last 1.
        batch: images at a time.
        guidance: weight of classifier-free guidance; 1 is off.

    Returns:
        (S,), not falling.
    """
    unets = [cut(unet, share) for share in shares]
    calls = [
        sampling_call(one, "ddim", timing_levels(nfe), guidance, batch)
        for one in unets
        for nfe in EVALUATIONS
    ]
    spans = np.array(time_in_turn(calls)).reshape(len(unets), len(EVALUATIONS))
    each = np.maximum(spans[:, 1] - spans[:, 0], 1e-3 * spans[:, 1])
    # A wider one is never faster, whatever a busy machine makes of it.
    risen = np.maximum.accumulate(each)
    found: np.ndarray = risen / risen[-1]
    return found


def width_costs(
    unet: UNet, shares: Sequence[float], bank: Bank, guidance: float = 1.0
) -> np.ndarray:
    """What a DDIM jump by the network at some width costs at the trajectory's end.

    Args:
        unet: the wide network.
        shares: of its widths, S.
        bank: trajectories; each jump begins at one of their states.
        guidance: weight of classifier-free guidance; 1 is off.

    Returns:
        (S, T + 1, T + 1), for each width as `jump_costs` gives them.
    """
    states = np.array(bank.states[:, :COUNT])
    labels = None if bank.labels is None else mx.array(bank.labels[:COUNT])
    costs = []
    for share in shares:
        narrow = cut(unet, share)
        denoise = denoiser(narrow, labels, guidance)
        clean = []
        for x, level in zip(states[:-1], bank.levels[:-1], strict=True):
            with lock.shared(), sampling_threads(narrow.spec, len(x)):
                clean.append(np.array(denoise(mx.array(x), mx.array([level], dtype=mx.float32))))
        costs.append(jump_costs(states, np.stack(clean), bank.levels, bank.sigma_data))
    return np.stack(costs)


def cheapest_widths(
    costs: np.ndarray, prices: np.ndarray, budget: float
) -> tuple[list[int], list[int]]:
    """The path of least summed cost, of any number of jumps, that a budget pays for.

    A dynamic program over the level and what is left of the budget, in thousandths.

    Args:
        costs: (S, N, N) of a jump at each width; infinite where it is not allowed.
        prices: (S,) of a jump at each width.
        budget: for all jumps together.

    Returns:
        Indices of the levels, from 0 to N - 1, and of the width of each jump.

    Raises:
        SpecError: the budget does not pay for a single jump.
    """
    parts = np.ceil(prices / budget * _GRAINS - 1e-6).astype(int)
    if parts.min() > _GRAINS:
        raise SpecError(f"a budget of {budget:g} pays for no jump; give {prices.min():g} or more")
    count = costs.shape[1]
    best = np.full((count, _GRAINS + 1), np.inf)
    best[-1] = 0
    onward, width = (np.zeros(best.shape, int) for _ in range(2))
    for i in reversed(range(count - 1)):
        for s, part in enumerate(parts):
            if part > _GRAINS:
                continue
            through = costs[s, i, i + 1 :, None] + best[i + 1 :, : _GRAINS + 1 - part]
            least = np.argmin(through, axis=0)
            value = through[least, np.arange(through.shape[1])]
            at = np.flatnonzero(value < best[i, part:])
            best[i, part + at] = value[at]
            onward[i, part + at], width[i, part + at] = i + 1 + least[at], s
    path, widths, left = [0], [], _GRAINS
    while path[-1] < count - 1:
        i = path[-1]
        path.append(int(onward[i, left]))
        widths.append(int(width[i, left]))
        left -= parts[widths[-1]]
    return path, widths


def slim_path(
    costs: np.ndarray, prices: np.ndarray, shares: Sequence[float], levels: Levels, budget: float
) -> Widths:
    """Levels and widths of the least error within the time of some whole evaluations.

    Args:
        costs: (S, N, N) from `width_costs`.
        prices: (S,) from `call_prices`.
        shares: (S,) of the widths.
        levels: (N,) of the trajectories.
        budget: in evaluations of the whole network.
    """
    path, widths = cheapest_widths(costs, prices, budget)
    error = sum(costs[s, a, b] for s, a, b in zip(widths, path, path[1:], strict=False))
    return Widths(
        levels[path], tuple(shares[s] for s in widths), float(error), float(prices[widths].sum())
    )
