"""Sampling where every image has noise levels of its own, and those that are done cost nothing."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from ado_nas.diffusion.preconditioning import denoiser
from ado_nas.diffusion.sampling import parts, sampling_threads
from ado_nas.diffusion.solvers import MEMORY, RULE, Point, Rule
from ado_nas.measure import lock
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress, silent

Next = Callable[[int, np.ndarray, list[Point]], np.ndarray]
"""(evaluations so far, images (A,) still in work, their last evaluations) -> (A,) next levels."""


def compacted(
    unet: UNet,
    rule: Rule,
    first: float,
    following: Next,
    x: mx.array,
    labels: mx.array | None = None,
    guidance: float = 1.0,
) -> tuple[mx.array, np.ndarray]:
    """Sample a batch, each image by levels that are chosen while it is sampled.

    Only images that are not yet at 0 are evaluated.

    Args:
        unet: the network.
        rule: of a multistep solver.
        first: the level that all begin at.
        following: chooses each image's next level after an evaluation, below the last one; 0 ends.
        x: (B, H, W, C), standard normal noise.
        labels: (B,) int32, or None.
        guidance: weight of classifier-free guidance; 1 is off.

    Returns:
        (B, H, W, C) images, evaluated, and (B,) network evaluations of each.
    """
    count = x.shape[0]
    rows, now = np.arange(count), np.full(count, first)
    state, past = x * first, list[Point]()
    done: list[mx.array] = []
    order: list[np.ndarray] = []
    spent = np.zeros(count, np.int64)
    while len(rows):
        d = denoised(unet, state, now, labels, guidance)
        spent[rows] += 1
        past = [*past[1 - MEMORY :], Point(now, state, d)]
        then = following(int(spent[rows[0]]), rows, past)
        state = rule(past, then)
        mx.async_eval(state)
        ended = then == 0
        if ended.any():
            done.append(state[mx.array(np.flatnonzero(ended))])
            order.append(rows[ended])
            keep = np.flatnonzero(~ended)
            index = mx.array(keep)
            state, rows, then = state[index], rows[keep], then[keep]
            labels = None if labels is None else labels[index]
            past = [Point(p.level[keep], p.x[index], p.d[index]) for p in past]
        now = then
    back = np.argsort(np.concatenate(order))
    images = mx.concatenate(done)[mx.array(back)]
    mx.eval(images)
    return images, spent


def in_batches(
    unet: UNet,
    solver: str,
    first: float,
    following: Callable[[], Next],
    start: np.ndarray,
    labels: np.ndarray | None = None,
    guidance: float = 1.0,
    batch: int = 100,
    progress: Progress = silent,
) -> tuple[np.ndarray, np.ndarray]:
    """Images from given noise by `compacted`, in batches, sharing the device with others.

    Args:
        unet: the network.
        solver: of one evaluation a step, by name.
        first: the level that all begin at.
        following: makes what chooses the levels, anew for each batch.
        start: (N, H, W, C) standard normal noise.
        labels: (N,) int32, or None.
        guidance: weight of classifier-free guidance; 1 is off.
        batch: images at a time.
        progress: told after each batch.

    Returns:
        (N, H, W, C) float32 images, and (N,) evaluations spent on each.
    """
    images, spent = [], []
    for a in range(0, len(start), batch):
        x = mx.array(start[a : a + batch])
        chosen = None if labels is None else mx.array(labels[a : a + batch])
        with lock.shared(), sampling_threads(unet.spec, x.shape[0]):
            made, count = compacted(unet, RULE[solver], first, following(), x, chosen, guidance)
        images.append(np.array(made))
        spent.append(count)
        progress("sampling by content", min(a + batch, len(start)), len(start))
    return np.concatenate(images), np.concatenate(spent)


def denoised(
    unet: UNet, x: mx.array, levels: np.ndarray, labels: mx.array | None, guidance: float
) -> mx.array:
    """One evaluation of images at levels of their own, split over the batch streams.

    Args:
        unet: the network.
        x: (B, H, W, C) states.
        levels: (B,) their noise levels, above 0.
        labels: (B,) int32, or None.
        guidance: weight of classifier-free guidance; 1 is off.

    Returns:
        (B, H, W, C) denoised images, still being computed.
    """
    sigma = mx.array(levels.astype(np.float32))
    found = []
    for stream, rows in parts(unet.spec, x.shape[0]):
        chosen = None if labels is None else labels[rows]
        with mx.stream(stream):
            found.append(denoiser(unet, chosen, guidance)(x[rows], sigma[rows]))
    mx.async_eval(found)
    return found[0] if len(found) == 1 else mx.concatenate(found)
