"""Whether latency can be told before a network is built: predicted against measured.

Networks are drawn at random out of a wide space. The operator table and its calibration come from
other networks than those that are judged; multiply-accumulates are the usual stand-in beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import ConfigError
from ado_nas.measure.cost import cost
from ado_nas.measure.predictor import Predictor, Timed, grid, load_table
from ado_nas.measure.speed import latency
from ado_nas.modelfolder import Model
from ado_nas.models.unet import build_unet
from ado_nas.progress import Progress
from ado_nas.specs import SamplerSpec, UNetSpec
from benchmarks.networks import drawn

JUDGED = 40
FITTED = 16
ROUNDS = 8  # passes over all networks: a machine that is slow for a while is so for all of them
EVALUATIONS = 3  # of a network in each
TABLED = 300  # networks whose operators make up the table
BATCH = 16
STEPS = 2


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
        rows: spec, params, macs, predicted_ms, latency_ms, error; kendall_tau over all,
        kendall_tau_fast_half, macs_kendall_tau, median_error as a fraction, and how long the table
        took (`table_seconds`; near 0 where it was there).

    Raises:
        ConfigError: no such row.
    """
    if row is not None and not 0 <= row < judged:
        raise ConfigError(f"row {row}: give 0 to {judged - 1}")
    started = time.monotonic()
    wanted = grid(drawn(10**6, tabled))
    table = load_table(wanted, BATCH, workspace / "cache" / "operators", progress=progress)
    table_seconds = time.monotonic() - started
    chosen = drawn(seed, judged) if row is None else drawn(seed, judged)[row : row + 1]
    others = [spec for spec in drawn(2 * 10**6, 2 * FITTED) if spec not in drawn(seed, judged)]
    timed = _timed([*others[:FITTED], *chosen], progress)
    predictor = table.refined(timed[:FITTED])
    rows = [_row(predictor, found) for found in timed[FITTED:]]
    return {
        "rows": rows,
        "table_seconds": round(table_seconds, 1),
        "operators": len(wanted),
        **_verdict(rows),
    }


def _timed(specs: Sequence[UNetSpec], progress: Progress) -> list[Timed]:
    """Every network timed once a round; what counts is the median of its rounds."""
    models = [_model(spec) for spec in specs]
    found: list[list[float]] = [[] for _ in specs]
    for done in range(ROUNDS * len(specs)):
        model = models[done % len(specs)]
        timing = latency(model, "ddim", model.levels, 1.0, BATCH, EVALUATIONS)
        found[done % len(specs)].append(timing.median_ms)
        progress("networks, in rounds", done + 1, ROUNDS * len(specs))
    return [
        Timed(spec, STEPS, float(np.median(ms))) for spec, ms in zip(specs, found, strict=True)
    ]


def _model(spec: UNetSpec) -> Model:
    levels = karras_levels(STEPS, 0.02, 40.0)
    return Model(build_unet(spec), SamplerSpec("ddim", "karras", STEPS), levels, {})


def _row(predictor: Predictor, timed: Timed) -> dict[str, Any]:
    predicted = predictor.predict(timed.unet, STEPS)
    static = cost(timed.unet)
    return {
        "spec": timed.unet.hash,
        "params": static.params,
        "macs": static.macs,
        "predicted_ms": round(predicted, 4),
        "latency_ms": round(timed.latency_ms, 4),
        "error": round(predicted / timed.latency_ms - 1, 4),
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
