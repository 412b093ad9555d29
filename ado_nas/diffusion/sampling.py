"""Sampling whole sets of images: batches, split over the device's streams, from numbered noise."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import Denoise, denoiser
from ado_nas.diffusion.solvers import Solver, solver_of
from ado_nas.measure import lock
from ado_nas.measure.cost import cost
from ado_nas.models.stepped import networks
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress, silent
from ado_nas.runtime import batch_streams, blas_threads, cores
from ado_nas.specs import UNetSpec

# Multiply-accumulates of one network evaluation over the whole batch, below which one stream and
# one BLAS thread are fastest: forking costs more than it saves (measured on two cores).
_WORTH_SPLITTING = 200e6


def noise(seed: int, count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Standard normal noise, the same for everybody who names the seed.

    Args:
        seed: of the set.
        count: images, N.
        shape: (H, W, C) of one.

    Returns:
        (N, H, W, C) float32; a longer set begins with the shorter one.
    """
    return np.random.default_rng(seed).standard_normal((count, *shape), dtype=np.float32)


def balanced_labels(count: int, num_classes: int) -> np.ndarray | None:
    """Classes in turn.

    Args:
        count: images, N.
        num_classes: 0 for an unconditional model.

    Returns:
        (N,) int32, or None.
    """
    return np.arange(count, dtype=np.int32) % num_classes if num_classes else None


def steps(
    unet: UNet,
    solver: str | Solver,
    levels: Levels,
    x: mx.array,
    labels: mx.array | None = None,
    guidance: float = 1.0,
) -> Iterator[mx.array]:
    """Run a solver on one batch, split over the batch streams.

    Args:
        unet: the network.
        solver: its name, or the solver itself.
        levels: (T + 1,), falling, the last 0.
        x: (B, H, W, C), standard normal noise.
        labels: (B,) int32, or None.
        guidance: weight of classifier-free guidance; 1 is off.

    Yields:
        (B, H, W, C) states at levels[0], levels[1], ... 0, still being computed: the graph of the
        next step is built meanwhile.
    """
    shares = parts(unet.spec, x.shape[0])
    start = x * float(levels[0])
    mx.eval(start)
    yield start
    each = networks(unet, len(levels) - 1)
    runs = []
    for _, rows in shares:
        chosen = None if labels is None else labels[rows]
        runs.append(solver_of(solver)(in_turn(each, chosen, guidance), start[rows], levels))
    for _ in range(len(levels) - 1):
        states = []
        for run, (stream, _) in zip(runs, shares, strict=True):
            with mx.stream(stream):
                states.append(next(run)[0])
        mx.async_eval(states)
        yield states[0] if len(states) == 1 else mx.concatenate(states)


def in_turn(each: Sequence[UNet], labels: mx.array | None, guidance: float) -> Denoise:
    """A denoiser that takes the next network at each call, where they differ by step."""
    if all(unet is each[0] for unet in each):
        return denoiser(each[0], labels, guidance)
    turn = (denoiser(unet, labels, guidance) for unet in each)
    return lambda x, sigma: next(turn)(x, sigma)


def sample_batch(
    unet: UNet,
    solver: str | Solver,
    levels: Levels,
    x: mx.array,
    labels: mx.array | None = None,
    guidance: float = 1.0,
) -> mx.array:
    """The last state of `steps`: (B, H, W, C), evaluated."""
    with sampling_threads(unet.spec, x.shape[0]):
        for state in steps(unet, solver, levels, x, labels, guidance):
            last = state
        mx.eval(last)
    return last


@contextlib.contextmanager
def sampling_threads(spec: UNetSpec, rows: int) -> Iterator[None]:
    """Give the BLAS the threads with which this network samples `rows` images fastest."""
    split = len(parts(spec, rows)) > 1
    with blas_threads(1 if split or rows * _macs(spec) < _WORTH_SPLITTING else cores()):
        yield


def splits(spec: UNetSpec, rows: int) -> bool:
    """Whether sampling `rows` images of this network is worth splitting over streams."""
    return rows > 1 and rows * _macs(spec) >= _WORTH_SPLITTING


def parts(spec: UNetSpec, rows: int) -> list[tuple[Any, slice]]:
    """The streams that sample `rows` images of this network, each with its share of them."""
    streams = batch_streams()
    streams = streams if splits(spec, rows) else streams[:1]
    edges = [rows * i // len(streams) for i in range(len(streams) + 1)]
    return [(s, slice(a, b)) for s, (a, b) in zip(streams, pairwise(edges), strict=True)]


@functools.cache
def _macs(spec: UNetSpec) -> int:
    return cost(spec).macs


def generate(
    unet: UNet,
    solver: str | Solver,
    levels: Levels,
    start: np.ndarray,
    labels: np.ndarray | None = None,
    guidance: float = 1.0,
    batch: int = 100,
    progress: Progress = silent,
    stage: str = "sampling",
) -> np.ndarray:
    """Images from given noise, in batches, sharing the device with others.

    Args:
        unet: the network.
        solver: its name, or the solver itself.
        levels: (T + 1,), falling, the last 0.
        start: (N, H, W, C) standard normal noise.
        labels: (N,) int32, or None.
        guidance: weight of classifier-free guidance; 1 is off.
        batch: images at a time.
        progress: told after each batch.
        stage: what it is told.

    Returns:
        (N, H, W, C) float32.
    """
    parts = []
    for a in range(0, len(start), batch):
        chosen = None if labels is None else mx.array(labels[a : a + batch])
        with lock.shared():
            x = mx.array(start[a : a + batch])
            parts.append(np.array(sample_batch(unet, solver, levels, x, chosen, guidance)))
        progress(stage, min(a + batch, len(start)), len(start))
    return np.concatenate(parts)
