"""Trials an hour by workers and by streams of each: a real search of the same candidates by each.

The candidates are the anchors of a study that has room for nothing else. Teacher, trajectories and
reference are there before the clock starts, which is when the first trial does: a search of a week
starts its workers seldom. It ends with the last trial, and the dearest candidates come first, so
that no worker is long without one before. The ways take turns, so that minutes in which the
machine is slow meet all of them.

Forty minutes on two cores: three times 12 candidates at 12 to 20 s by each of three ways, and most
of a minute around each of these nine searches.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ado_nas.errors import ConfigError
from ado_nas.files import read_json, write_json
from ado_nas.measure.cost import cost
from ado_nas.progress import Progress
from ado_nas.runtime import batch_streams, core_share, default_workers
from ado_nas.specs import Candidate, digest
from search_spaces.candidate import draw, params_of
from search_spaces.chooser import RandomChooser
from search_spaces.space import Space
from studies.config import SearchConfig, resolve
from studies.evaluation import run_preparation
from studies.folders import open_workspace, study_folder
from studies.processes import call
from studies.search import search
from studies.session import fitting

SCHEMA = 2  # raise it when timing or training changes
CANDIDATES = 12
ROUNDS = 3
DRAWS = 20  # for each candidate, before the space is said to have too few


@dataclass(frozen=True)
class Way:
    """How many workers train side by side, and over how many streams each splits a batch."""

    workers: int
    streams: int


WAYS = (Way(1, 1), Way(1, 2), Way(2, 1))


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    config: SearchConfig | None = None,
    candidates: int = CANDIDATES,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Search the same candidates in each way, several times.

    Args:
        seed: of the candidates and of their training.
        row: one of the ways; None all.
        workspace: its cache is used; searches that have ended are kept.
        progress: told by the searches themselves.
        config: other than the digits preset.
        candidates: of each search.
        rounds: searches of each way.

    Returns:
        rows: workers, streams, trials and seconds of all rounds, trials_per_hour, that of each
        round, and the median latency of each candidate; ``default``, the way of the product here,
        which has a row of its own where it is none of the three; its rate over the first row's
        (``default_ratio``), the ``fastest`` way, whether that is the default,
        ``latency_spread``, the largest relative difference between the rows' latencies of one
        candidate, and ``latency_bias``, the largest between their geometric means.

    Raises:
        ConfigError: no such row.
    """
    ways = list(dict.fromkeys([*WAYS, default_way()]))
    if row is not None and not 0 <= row < len(ways):
        raise ConfigError(f"row {row}: give 0 to {len(ways) - 1}")
    workspace = open_workspace(workspace)
    base = config or resolve("digits")
    facts = call(run_preparation, base.evaluator, base.task, workspace, progress=progress)
    fixed = listed(base, fitting(base.space, facts)[0], candidates, seed)
    place = workspace / "benchmarks" / "workers"
    found: dict[Way, list[dict[str, Any]]] = {way: [] for way in ways}
    for turn in range(rounds):
        for i in range(len(ways)):
            way = ways[(turn + i) % len(ways)]
            if row is None or way == ways[row]:
                key = digest("workers", SCHEMA, fixed, facts["digests"], way, turn)
                done = _kept(place / f"{key}.json", fixed, way, workspace, progress)
                found[way].append(done)
    rows = [_row(way, done) for way, done in found.items() if done]
    return {
        "rows": rows,
        "default": dataclasses.asdict(default_way()),
        **(verdict(rows, default_way()) if row is None else {}),
    }


def default_way() -> Way:
    """What a search does here that is told nothing."""
    workers = default_workers()
    with core_share(workers):
        return Way(workers, len(batch_streams()))


def listed(config: SearchConfig, space: Space, count: int, seed: int) -> SearchConfig:
    """A search of a fixed list of candidates and of nothing else, each trained to its end.

    Args:
        config: of other searches of this task.
        space: what the candidates are drawn from, by chance.
        count: how many.
        seed: of the draws.

    Returns:
        The config, with the candidates as its anchors.

    Raises:
        ConfigError: the space has fewer.
    """
    chooser, base, found = RandomChooser(seed), config.task.teacher.unet, dict[str, Candidate]()
    for _ in range(DRAWS * count):
        if len(found) == count:
            break
        candidate = draw(space, chooser, base, config.distillation)
        found.setdefault(candidate.hash, candidate)
    if len(found) < count:
        raise ConfigError(f"{count} candidates: this space has {len(found)}; ask for fewer")
    dearest = sorted(found.values(), key=lambda c: -cost(c.unet).macs)
    choices = (params_of(candidate, space) for candidate in dearest)
    anchors = (" ".join(f"{name}={value}" for name, value in c.items()) for c in choices)
    return dataclasses.replace(
        config,
        space=dataclasses.replace(config.space, anchors=tuple(anchors)),
        limits=dataclasses.replace(config.limits, min_retention=0.0),
        trials=count,
        pruner="none",
        sampler="random",
        finalists=0,
        track=False,
        seed=seed,
    )


def verdict(rows: Sequence[Mapping[str, Any]], default: Way) -> dict[str, Any]:
    """The default beside the others.

    Args:
        rows: of all ways, the first one first.
        default: one of them.

    Returns:
        default_ratio, fastest, default_is_fastest, latency_spread and latency_bias.
    """
    rates = {Way(r["workers"], r["streams"]): r["trials_per_hour"] for r in rows}
    fastest = max(rates, key=lambda way: rates[way])
    shared = set.intersection(*(set(r["latencies_ms"]) for r in rows))
    measured = [[r["latencies_ms"][spec] for r in rows] for spec in shared]
    means = [statistics.geometric_mean(ms) for ms in zip(*measured, strict=True)]
    return {
        "default_ratio": round(rates[default] / rows[0]["trials_per_hour"], 3),
        "fastest": dataclasses.asdict(fastest),
        "default_is_fastest": fastest == default,
        "latency_spread": round(max(max(ms) / min(ms) - 1 for ms in measured), 4),
        "latency_bias": round(max(means) / min(means) - 1, 4),
    }


def _kept(
    path: Path, config: SearchConfig, way: Way, workspace: Path, progress: Progress
) -> dict[str, Any]:
    found = read_json(path)
    if found is None:
        found = _search(config, way, workspace, progress)
        write_json(path, found)
    return dict(found)


def _search(config: SearchConfig, way: Way, workspace: Path, progress: Progress) -> dict[str, Any]:
    """One search in a study of its own, of which nothing stays but its figures."""
    with tempfile.TemporaryDirectory(prefix="workers-") as folder, _streams(way.streams):
        own = dataclasses.replace(
            config,
            workers=way.workers,
            study=Path(folder).name,
            storage=f"sqlite:///{folder}/studies.db",
            artifacts=f"{folder}/artifacts",
        )
        try:
            record = search(own, workspace, progress)
        finally:
            shutil.rmtree(study_folder(workspace, own.study), ignore_errors=True)
    scored = [t for t in record.trials if t.state == "complete"]
    begun = [datetime.fromisoformat(t.started).timestamp() for t in scored]
    ended = [start + t.seconds for start, t in zip(begun, scored, strict=True)]
    return {
        "trials": len(scored),
        "seconds": round(max(ended) - min(begun), 3),
        "latencies_ms": {t.spec_hash: t.values["latency_ms"] for t in scored},
    }


@contextlib.contextmanager
def _streams(count: int) -> Iterator[None]:
    """Processes started in this block use one stream each, or as many as they would."""
    before = os.environ.pop("ADO_STREAMS", None)
    if count == 1:
        os.environ["ADO_STREAMS"] = "1"
    try:
        yield
    finally:
        os.environ.pop("ADO_STREAMS", None)
        if before is not None:
            os.environ["ADO_STREAMS"] = before


def _row(way: Way, done: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rates = [round(3600 * one["trials"] / one["seconds"], 1) for one in done]
    trials, seconds = (sum(one[name] for one in done) for name in ("trials", "seconds"))
    specs = set.intersection(*(set(one["latencies_ms"]) for one in done))
    return {
        **dataclasses.asdict(way),
        "trials": trials,
        "seconds": round(seconds, 2),
        "trials_per_hour": round(3600 * trials / seconds, 1),
        "rounds": rates,
        "latencies_ms": {
            spec: round(statistics.median(one["latencies_ms"][spec] for one in done), 4)
            for spec in sorted(specs)
        },
    }
