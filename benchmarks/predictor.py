"""Whether latency can be told before a network is built: predicted against measured.

Networks are drawn at random out of a wide space. The operator table and its calibration come from
other networks than those that are judged; multiply-accumulates are the usual stand-in beside it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import ConfigError
from ado_nas.measure.cost import cost
from ado_nas.measure.predictor import Predictor, Timed, grid, load_table
from ado_nas.modelfolder import Model
from ado_nas.models.unet import build_unet
from ado_nas.progress import Progress
from ado_nas.specs import SamplerSpec, UNetSpec
from objectives.speed import latency
from search_spaces.chooser import RandomChooser
from search_spaces.space import Space
from search_spaces.unet import draw_unet

JUDGED = 40
FITTED = 16
TABLED = 300  # networks whose operators make up the table
BATCH = 16
STEPS = 2
BASE = UNetSpec(resolution=16, num_classes=10, sigma_data=0.7)
SPACE = Space(
    widths=("8-16", "16-16", "12-24", "16-32", "24-32", "24-48", "32-64", "48-96", "16-32-64"),
    patch=(1, 2),
    blocks=("1", "1-2", "2-1", "2"),
    attention=("none", "low", "all", "low:linear", "all:linear", "low:window", "all:window"),
    head_dim=(8, 16),
    conv=("full", "separable"),
    norm=("group", "rms"),
    activation=("relu", "hardswish", "silu"),
    resample=("conv-conv", "pool-nearest", "fold-fold"),
    middle=(False, True),
    skip=("concat", "add"),
    time_width=(32, 64),
)


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    judged: int = JUDGED,
    tabled: int = TABLED,
) -> dict[str, Any]:
    """Predict, then measure.

    Args:
        seed: of the judged networks.
        row: one of them; None all.
        workspace: its cache keeps the operator table.
        progress: told of each part.
        judged: how many networks.
        tabled: how many networks' operators are measured.

    Returns:
        rows: spec, params, macs, predicted_ms, latency_ms, latency_iqr_ms, error; kendall_tau over
        all, kendall_tau_fast_half, macs_kendall_tau, median_error as a fraction, and how long
        table and calibration took (`fit_seconds`).

    Raises:
        ConfigError: no such row.
    """
    if row is not None and not 0 <= row < judged:
        raise ConfigError(f"row {row}: give 0 to {judged - 1}")
    started = time.monotonic()
    wanted = grid(drawn(10**6, tabled))
    table = load_table(wanted, BATCH, workspace / "cache" / "operators", progress=progress)
    fitted = [spec for spec in drawn(2 * 10**6, 2 * FITTED) if spec not in drawn(seed, judged)]
    predictor = table.refined([_timed(spec) for spec in fitted[:FITTED]])
    fit_seconds = time.monotonic() - started
    chosen = drawn(seed, judged) if row is None else drawn(seed, judged)[row : row + 1]
    rows = []
    for spec in chosen:
        rows.append(_row(predictor, spec))
        progress("predicted against measured", len(rows), len(chosen))
    return {
        "rows": rows,
        "fit_seconds": round(fit_seconds, 1),
        "operators": len(wanted),
        **_verdict(rows),
    }


def drawn(seed: int, count: int) -> list[UNetSpec]:
    """Different networks out of the space, the same ones for a seed."""
    chooser = RandomChooser(seed)
    found: dict[str, UNetSpec] = {}
    while len(found) < count:
        spec = draw_unet(SPACE, chooser, BASE)
        found.setdefault(spec.hash, spec)
    return list(found.values())


def _timed(spec: UNetSpec) -> Timed:
    return Timed(spec, STEPS, _measured(spec)[0])


def _measured(spec: UNetSpec) -> tuple[float, float]:
    levels = karras_levels(STEPS, 0.02, 40.0)
    model = Model(build_unet(spec), SamplerSpec("ddim", "karras", STEPS), levels, {})
    found = latency(model, "ddim", levels, 1.0, BATCH)
    return found.median_ms, found.iqr_ms


def _row(predictor: Predictor, spec: UNetSpec) -> dict[str, Any]:
    predicted = predictor.predict(spec, STEPS)
    measured, spread = _measured(spec)
    static = cost(spec)
    return {
        "spec": spec.hash,
        "params": static.params,
        "macs": static.macs,
        "predicted_ms": round(predicted, 4),
        "latency_ms": round(measured, 4),
        "latency_iqr_ms": round(spread, 4),
        "error": round(predicted / measured - 1, 4),
    }


def _verdict(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    from scipy.stats import kendalltau

    def tau(name: str, among: list[dict[str, Any]]) -> float | None:
        if len(among) < 3:
            return None
        found = kendalltau([r[name] for r in among], [r["latency_ms"] for r in among])
        return round(float(found.statistic), 4)

    fast = sorted(rows, key=lambda r: r["latency_ms"])[: len(rows) // 2]
    return {
        "kendall_tau": tau("predicted_ms", rows),
        "kendall_tau_fast_half": tau("predicted_ms", fast),
        "macs_kendall_tau": tau("macs", rows),
        "median_error": round(float(np.median([abs(r["error"]) for r in rows])), 4),
    }
