"""What the command line shows: progress on stderr, tables and sentences on stdout."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ado_nas.errors import StudyError
from ado_nas.progress import Progress
from reports.markup import plain
from reports.measurements import real
from studies.record import StudyRecord, TrialRecord

PLAIN_SECONDS = 10.0  # between two lines of progress where there is no terminal


def table(rows: list[dict[str, Any]]) -> None:
    """Print rows as aligned columns, one for each key that any of them has."""
    if not rows:
        print("nothing yet")
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names] + [[cell(row.get(name)) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def cell(value: Any) -> str:
    """One value as people read it."""
    if isinstance(value, float):
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"
    return "-" if value is None else str(value)


def sections(values: dict[str, Any]) -> None:
    """Print names and values, one a line; tables among them indented."""
    for key, value in values.items():
        if not isinstance(value, dict):
            print(f"{key:<14} {cell(value)}")
            continue
        print(key)
        for name, inner in value.items():
            print(f"  {name:<24} {cell(inner)}")


def study_row(record: StudyRecord) -> dict[str, Any]:
    """One study in a list of studies."""
    return {
        "study": record.name,
        "trained": record.trained,
        "front": len(record.front),
        "best": record.best,
        "hypervolume": record.hypervolume,
    }


def trial_row(record: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    """One trial in a list of trials."""
    mark = "best" if trial.number == record.best else "front"
    return {
        "trial": trial.number,
        "state": trial.state,
        **{name: trial.values.get(name) for name in ("gap", "latency_ms", "size_mb")},
        "retention": trial.attributes.get("retention"),
        "seconds": round(trial.seconds, 1),
        "": mark if trial.number in record.front else "",
    }


def trial_facts(record: StudyRecord, number: int) -> dict[str, Any]:
    """One trial, whole.

    Raises:
        StudyError: the study has no such trial.
    """
    known = [t.number for t in record.trials]
    if number not in known:
        last = f"they run from {known[0]} to {known[-1]}" if known else "there is none yet"
        raise StudyError(f"study {record.name!r} has no trial {number}; {last}")
    found = dataclasses.asdict(record.trial(number))
    return {**found, "remeasured": record.remeasured.get(number)}


def show_plan(found: dict[str, Any]) -> None:
    """Print what a search would do."""
    config = found["config"]
    about = "" if found["exact"] else "about "
    print(f"study {config['study']!r} on {config['task']['data']['name']}")
    print(f"{found['trials']} trials of {about}{found['candidates']} candidates")
    for dimension in found["dimensions"]:
        print(f"  {dimension['name']:<12} {', '.join(map(str, dimension['choices']))}")


def show_search(record: StudyRecord, found: dict[str, Any]) -> None:
    """Print how a search ended.

    Args:
        record: the study.
        found: its `reports.summary.summary`.
    """
    from reports.headline import sentence

    print(plain(sentence(record)))
    keys = ("number", "retention", "speedup", "speedup_training_free", "compression")
    table([{**{k: e[k] for k in keys}, **e["values"]} for e in found["front"]])
    print(f"report: {found['report']}")


def show_optimized(found: Mapping[str, Any]) -> None:
    """Print how an optimization ended.

    Args:
        found: its trade-off, with the folder of the chosen student as ``model`` and the page as
            ``report`` where there are any.
    """
    from reports.gains import sentence

    print(plain(sentence(found)))
    if found.get("stages"):
        table([_stage_row(stage) for stage in found["stages"]])
    for name in ("model", "report"):
        if found.get(name):
            print(f"{name}: {found[name]}")


def show_schedules(found: Mapping[str, Any]) -> None:
    """What `schedule` found: all rows, then the one that was saved."""
    names = ("solver", "schedule", "learned", "nfe", "gap", "retention", "latency_ms")
    table([{name: row[name] for name in names} for row in found["rows"]])
    best, reference, content = found["best"], found["reference"], found.get("content")
    first = "best of these" if content and content["better"] else "saved"
    print()
    print(
        f"{first}: {best['solver']} with {best['schedule']} levels, {best['nfe']} NFE: retention "
        f"{best['retention']:.3g} of {reference['solver']} with {reference['nfe']} NFE, "
        f"{reference['latency_ms'] / best['latency_ms']:.3g} times as fast"
    )
    _show_confirmed(best["confirmed"])
    if tuned := found.get("tuned"):
        print(
            f"in batches of {tuned['batch']}: {tuned['latency_ms']:.4g} ms an image, then "
            f"{tuned['confirmed_ms']:.4g}; asked for {tuned['target_ms']:.4g}"
        )
        if tuned["note"]:
            print(tuned["note"])
    if content:
        _show_content(content)
    print(found["path"])


def _show_confirmed(again: Mapping[str, Any]) -> None:
    """What the chosen row came to on noise and images that nothing was chosen by."""
    low, high = again["retention_interval"] or (math.nan, math.nan)
    print(
        f"confirmed on other noise and images: retention {again['retention']:.3g} ({low:.3g} to "
        f"{high:.3g}), gap {cell(again['gap'])}"
    )
    if again["note"]:
        print(again["note"])


def _show_content(content: Mapping[str, Any]) -> None:
    """Steps by content beside the fixed schedules, and which of them was saved."""
    names = ("mean_nfe", "gap", "retention", "latency_ms")
    sides = {"by content": content, "fixed": content["fixed"]}
    print()
    table([{"steps": side, **{n: row[n] for n in names}} for side, row in sides.items()])
    proved = "better, and what was saved" if content["better"] else "not surely better"
    low, high = content["ratio_interval"] or (math.nan, math.nan)
    print(f"steps by content are {proved}: the fixed gap is {low:.3g} to {high:.3g} times theirs")
    print(f"for `sample --schedule`: {content['path']}")


def _stage_row(stage: Mapping[str, Any]) -> dict[str, Any]:
    """One attempt at a stage, with what followed from it."""
    size = stage.get("kind") == "size"
    ends = ("input_mb", "output_mb") if size else ("input_steps", "output_steps")
    low, high = (real(stage, f"retention_{end}") for end in ("low", "high"))
    return {
        "stage": stage.get("stage"),
        "goal": f"{' -> '.join(cell(real(stage, e)) for e in ends)} {'MB' if size else 'steps'}",
        **{name: stage.get(name) for name in ("method", "iterations")},
        "training_s": real(stage, "training_s"),
        "retention": real(stage, "retention"),
        "interval": f"{cell(low)} to {cell(high)}",
        "gate": "passed" if stage.get("passed") else "refused",
        "then": stage.get("action"),
        "why": stage.get("note") or "",
    }


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress on stderr: bars with the time left on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description:<14}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.fields[note]}"),
    )
    tasks: dict[str, rich.TaskID] = {}
    with rich.Progress(*columns, console=Console(stderr=True)) as bars:

        def show(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, note=note)
            bars.update(tasks[stage], completed=done, total=total or None, note=note)

        yield show


class Lines:
    """A line when a stage starts, when it ends, and every ten seconds between."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[float, int]] = {}  # when, and how much was done then
        self._finished: set[str] = set()
        self._shown = 0.0

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Report that `done` of `total` units of `stage` are finished."""
        now = time.monotonic()
        ends = 0 < total <= done
        if stage in self._finished:
            if ends:
                return
            self._finished.remove(stage)  # another one of the same name begins
            del self._started[stage]
        starts = stage not in self._started
        if not (starts or ends or now - self._shown > PLAIN_SECONDS):
            return
        if ends:
            self._finished.add(stage)
        began, before = self._started.setdefault(stage, (now, done))
        self._shown = now
        words = [f"{stage}: {done}/{total}" if total else stage, note]
        if done > before and not ends:
            words.append(_left((now - began) / (done - before) * (total - done)))
        print(", ".join(w for w in words if w), file=sys.stderr, flush=True)


def _left(seconds: float) -> str:
    return f"{seconds:.0f} s left" if seconds < 120 else f"{seconds / 60:.0f} min left"
