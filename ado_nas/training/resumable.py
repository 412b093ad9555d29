"""A long training that goes on where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from ado_nas.files import replacing
from ado_nas.measure import lock
from ado_nas.progress import Progress
from ado_nas.training.budget import held
from ado_nas.training.step import Stepper

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 10.0  # between two

Batches = Callable[[int], Iterator[tuple[mx.array, ...]]]
"""(first iteration) -> endless batches, each a function of its iteration."""


def train(
    stepper: Stepper,
    batches: Batches,
    iterations: int,
    folder: Path,
    stage: str,
    progress: Progress,
) -> float:
    """Train to the end, from the checkpoint in the folder where there is one.

    Args:
        stepper: ends with its last weights; the average is not loaded.
        batches: what it is trained on.
        iterations: the whole length.
        folder: holds the checkpoint; whoever saves the result there removes it.
        stage: what the progress is told.
        progress: told each iteration.

    Returns:
        Seconds, with those before an interruption.

    Raises:
        Diverged: the loss is not finite.
        OutOfMemory: a step does not fit the memory budget.
    """
    before = _resume(stepper, folder / CHECKPOINT)
    started = saved = time.monotonic()
    stream = batches(stepper.iteration)
    while stepper.iteration < iterations:
        with lock.shared():
            loss = held(stepper, next(stream))
        progress(stage, stepper.iteration, iterations, f"loss {loss:.3f}")
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            saved = time.monotonic()
            _checkpoint(stepper, folder / CHECKPOINT, before + saved - started)
    return before + time.monotonic() - started


def _checkpoint(stepper: Stepper, path: Path, seconds: float) -> None:
    facts = {"iteration": str(stepper.iteration), "seconds": str(seconds)}
    with replacing(path) as partial:
        mx.save_safetensors(str(partial), stepper.state(), facts)


def _resume(stepper: Stepper, path: Path) -> float:
    """Restore a checkpoint; returns the seconds spent until then, 0 where there is none."""
    if not path.exists():
        return 0.0
    try:
        state, facts = cast(Any, mx.load(str(path), return_metadata=True))
        stepper.restore(state, int(facts["iteration"]))
        return float(facts["seconds"])
    except (RuntimeError, ValueError, KeyError):
        path.unlink()
        return 0.0
