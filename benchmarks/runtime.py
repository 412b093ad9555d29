"""What the runtime is worth: stock MLX, ours and PyTorch do the same work in one run.

Each runs in a process of its own, the three take turns, and nobody else of this machine's searches
trains meanwhile. Network, batch and noise range are those of the `digits` preset's teacher.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.errors import ConfigError
from ado_nas.measure import lock
from ado_nas.progress import Progress
from ado_nas.specs import TaskSpec
from benchmarks.workloads import OUTPUTS, write_inputs

NFE = 6  # network evaluations of the sampling pass
ROUNDS, REPEATS = 5, 4  # stock runs once a round: it takes seconds
ROWS = (("training step", "step"), ("sampling pass", "sample"))
_OURS = ("ADO_CORES", "ADO_STREAMS", "ADO_RUNTIME")
_SET_BY_START = ("MLX_DISABLE_COMPILE", "KMP_BLOCKTIME", *_OURS)


def run(*, seed: int, row: int | None, workspace: Path, progress: Progress) -> dict[str, Any]:
    """Compare the three.

    Args:
        seed: of weights, images and noise.
        row: 0 the training step, 1 the sampling pass, None both.
        workspace: not used; nothing is kept.
        progress: told after each round.

    Returns:
        rows: name, batch, stock_ms, ours_ms, ratio (stock over ours), torch_ms, torch_ratio (ours
        over torch; None where torch is missing), max_difference (of ours from stock, relative to
        the largest value), torch_difference.

    Raises:
        ConfigError: no such row.
    """
    from studies.config import resolve

    if row is not None and not 0 <= row < len(ROWS):
        raise ConfigError(f"row {row}: give 0 to {len(ROWS) - 1}")
    chosen = ROWS if row is None else ROWS[row : row + 1]
    return {"rows": compare(resolve("digits").task, chosen, seed, progress), "nfe": NFE}


def compare(
    task: TaskSpec,
    chosen: tuple[tuple[str, str], ...],
    seed: int,
    progress: Progress,
    rounds: int = ROUNDS,
) -> list[dict[str, Any]]:
    """Time the chosen rows for one task; see `run`."""
    engines = {"stock": ("mlx", "stock"), "ours": ("mlx", "")}
    if importlib.util.find_spec("torch"):
        engines["torch"] = ("torch", "")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        write_inputs(task, NFE, seed, folder)
        stack.enter_context(lock.exclusive())
        processes = {
            n: stack.enter_context(_process(kind, folder, runtime))
            for n, (kind, runtime) in engines.items()
        }
        outputs = {n: _outputs(p, n, folder) for n, p in processes.items()}
        rows = []
        for index, (title, word) in enumerate(chosen):
            times = _times(processes, word, rounds, progress, index, len(chosen))
            batch = task.teacher.batch if word == "step" else task.latency_batch
            rows.append({"name": title, "batch": batch, **_figures(times, outputs, word)})
    return rows


def _times(
    processes: dict[str, subprocess.Popen[str]],
    word: str,
    rounds: int,
    progress: Progress,
    index: int,
    count: int,
) -> dict[str, list[float]]:
    """Milliseconds by engine, taken in turns; the first call of each is not counted."""
    times: dict[str, list[float]] = {name: [] for name in processes}
    for process in processes.values():
        _ask(process, word, "-")
    for i in range(rounds):
        for name, process in processes.items():
            for _ in range(1 if name == "stock" else REPEATS):
                times[name].append(_ask(process, word, "-") * 1e3)
        progress("runtime", index * rounds + i + 1, count * rounds, word)
    return times


def _figures(
    times: dict[str, list[float]], outputs: dict[str, dict[str, np.ndarray]], word: str
) -> dict[str, Any]:
    median = {name: float(np.median(values)) for name, values in times.items()}
    stock, ours, other = median["stock"], median["ours"], median.get("torch")
    return {
        "stock_ms": stock,
        "ours_ms": ours,
        "ratio": stock / ours,
        "torch_ms": other,
        "torch_ratio": ours / other if other else None,
        "max_difference": difference(outputs["ours"], outputs["stock"], word),
        "torch_difference": difference(outputs["ours"], outputs["torch"], word) if other else None,
    }


def difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray], word: str) -> float:
    """The largest difference between two engines' outputs, relative to the largest value of all.

    Args:
        a: outputs by name: images, loss and gradients.
        b: the same of another engine.
        word: ``step`` compares loss and gradients, ``sample`` the images.

    Returns:
        max |a - b| / max |b|, over images or over the whole gradient; for the loss likewise.
    """
    groups = (
        [["images"]] if word == "sample" else [["loss"], sorted(a.keys() - {"images", "loss"})]
    )
    return max(
        max(float(np.abs(a[k].ravel() - b[k].ravel()).max()) for k in group)
        / max(float(np.abs(b[k]).max()) for k in group)
        for group in groups
    )


def _outputs(process: subprocess.Popen[str], name: str, folder: Path) -> dict[str, np.ndarray]:
    _ask(process, "outputs", name)
    with np.load(folder / OUTPUTS.format(name)) as file:
        return dict(file)


def _ask(process: subprocess.Popen[str], word: str, name: str) -> float:
    """Have a process do one thing; returns its seconds."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{word} {name}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"the process that does {word!r} ended with status {process.wait()}")
    return float(answer)


@contextlib.contextmanager
def _process(engine: str, folder: Path, runtime: str) -> Iterator[subprocess.Popen[str]]:
    """One engine, waiting for requests; its standard error is ours."""
    environment = {k: v for k, v in os.environ.items() if k not in _SET_BY_START}
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "ADO_RUNTIME": runtime}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.workloads", engine, str(folder)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.wait()
