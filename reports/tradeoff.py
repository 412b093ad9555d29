"""The trade-off of one optimization: quality against steps, latency and size, as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ado_nas.files import replacing
from reports import charts, curves, gains, gallery, shell, wording
from reports.charts import Chart
from reports.curves import stages_figure, tradeoff_figure
from reports.markup import Child, Html, element, join, table
from reports.measurements import real, spread

__all__ = ["page", "stages_figure", "tradeoff_figure", "write_tradeoff"]

LINKS = (("Trade-off", "tradeoff"), ("Stages", "stages"), ("Read", "notes"))
DATA = "tradeoff.json"
ROW_HEADERS = (
    "Setting",
    "Steps",
    "Retention",
    "Gap",
    "Latency, ms per image",
    "Faster",
    "Size, MB",
    "Smaller",
    "Gate",
)
STAGE_HEADERS = (
    "Attempt",
    "Stage",
    "Goal",
    "Training",
    "Retention",
    "Sliced Wasserstein",
    "Gate",
    "Then",
)
KINDS = ("reference", "training_free", "student")


def write_tradeoff(found: Mapping[str, Any], path: Path) -> Path:
    """Write the page, whole or not at all.

    Args:
        found: the trade-off as `optimize` writes it; what is missing or not finite in it is shown
            as a dash.
        path: the HTML file; sample grids are looked for from its folder.

    Returns:
        The path written.
    """
    with replacing(path) as partial:
        partial.write_text(page(found, path.parent), encoding="utf-8")
    return path


def page(found: Mapping[str, Any], folder: Path) -> str:
    """The trade-off as one HTML document.

    Args:
        found: the trade-off.
        folder: where the page will lie.

    Returns:
        The document, with styles, script, figures, images and Plotly inside.
    """
    name, drawn = str(found.get("name") or "unnamed"), _charts(found)
    data = [element("a", DATA, href=DATA)] if (folder / DATA).is_file() else []
    return shell.whole(
        f"{name} · ADO-NAS trade-off",
        join(["ADO-NAS trade-off · ", element("b", name)]),
        LINKS,
        [
            shell.summary(
                gains.sentence(found),
                gains.subtitle(found),
                _grids(found, folder),
                gains.key_numbers(found),
            ),
            _tradeoff(found, drawn),
            _stages(found, drawn),
            shell.section("notes", "What the figures mean", _notes(found)),
        ],
        shell.footer(*data),
        list(drawn.values()),
    )


def _charts(found: Mapping[str, Any]) -> dict[str, Chart]:
    drawn = {}
    if any(real(r, "retention") is not None for r in found.get("rows") or []):
        title = "Retention against latency, size and steps"
        drawn["tradeoff"] = charts.chart("tradeoff", title, tradeoff_figure(found))
    if found.get("stages"):
        title = "Retention of every attempt"
        drawn["stages"] = charts.chart("stages", title, stages_figure(found))
    return drawn


def _grids(found: Mapping[str, Any], folder: Path) -> list[Html]:
    """The reference's samples beside the student's; nothing where neither were kept."""
    won, purse = gains.gains(found), gallery.Purse()
    if won is None or not (won.reference.get("samples") or won.chosen.get("samples")):
        return []
    named = (("Reference: the teacher", won.reference), ("The chosen student", won.chosen))
    return [gallery.card(_grid(title, row, folder, purse)) for title, row in named]


def _grid(title: str, row: Mapping[str, Any], folder: Path, purse: gallery.Purse) -> gallery.Grid:
    steps, samples = row.get("steps"), row.get("samples")
    amount = wording.count(steps, "step") if isinstance(steps, int) else wording.ABSENT
    cost = (
        f"{wording.number(real(row, 'latency_ms'))} ms, {wording.number(real(row, 'size_mb'))} MB"
    )
    source = gallery.data_uri(folder / str(samples), purse) if samples else ""
    return gallery.Grid(title, f"{amount}, {cost}", source, f"Samples, {title}")


def _tradeoff(found: Mapping[str, Any], drawn: Mapping[str, Chart]) -> Html:
    shown = drawn.get("tradeoff")
    least = wording.fraction(real(found, "quality_threshold"))
    reading = (
        "Up and to the left is better. The upper dotted line is the reference's quality, the "
        f"lower one the least retention asked for, {least}. Bars are intervals"
    )
    chosen = any(row.get("chosen") for row in found.get("rows") or [])
    ringed = "; the ringed point is the chosen student." if chosen else "."
    return shell.section(
        "tradeoff",
        "Quality against cost",
        element("p", reading + ringed) if shown else None,
        charts.legend([shown], curves.ROLES) if shown else None,
        charts.place(shown) if shown else None,
        _row_table(found),
    )


def _row_table(found: Mapping[str, Any]) -> Html:
    rows = list(enumerate(found.get("rows") or []))
    if not rows:
        return element("p", "No setting was measured.", class_="muted")
    rows.sort(key=lambda r: KINDS.index(r[1]["kind"]) if r[1].get("kind") in KINDS else len(KINDS))
    source = gains.reference([r for _, r in rows])
    lines = [_row(i, row, source) for i, row in rows]
    return table(ROW_HEADERS, lines, label="Every setting that was measured")


def _row(number: int, row: Mapping[str, Any], source: Mapping[str, Any]) -> Html:
    chosen = bool(row.get("chosen"))
    tag = element("span", "chosen", class_="tag") if chosen else None
    sampler = wording.sampler({k: row[k] for k in ("solver", "schedule") if row.get(k)})
    label, small = str(row.get("label") or "Unnamed"), element("small", sampler)
    head = element("th", label, tag, small, scope="row")
    cells: list[Child] = [
        wording.whole(real(row, "steps")),
        _bounded(row, "retention", wording.fraction),
        _bounded(row, "gap"),
        wording.number(real(row, "latency_ms")),
        wording.times(gains.ratio(source, row, "latency_ms")),
        wording.number(real(row, "size_mb")),
        wording.times(gains.ratio(source, row, "size_mb")),
        _gate(row.get("passed")),
    ]
    mark = "pick" if chosen else "reference" if row.get("kind") == "reference" else None
    rest = [element("td", c) for c in cells]
    return element("tr", head, *rest, id=f"row-{number}", tabindex=-1, class_=mark)


def _stages(found: Mapping[str, Any], drawn: Mapping[str, Chart]) -> Html:
    shown, plan = drawn.get("stages"), found.get("plan") or {}
    tried = found.get("stages") or []
    through = " → ".join(str(n) for n in (plan.get("original"), *(plan.get("stages") or ())) if n)
    planned = f"Planned: {through} steps. " if through else ""
    lines = [_attempt(i, stage) for i, stage in enumerate(tried, 1)]
    return shell.section(
        "stages",
        "What was tried, in order",
        element("p", f"{planned}{_ended(plan.get('reason'))}") if plan else None,
        charts.legend([shown], curves.ROLES) if shown else None,
        charts.place(shown) if shown else None,
        table(STAGE_HEADERS, lines, label="Attempts")
        if lines
        else element("p", "Nothing was tried.", class_="muted"),
    )


def _attempt(number: int, stage: Mapping[str, Any]) -> Html:
    cells: list[Child] = [
        str(stage.get("stage") or wording.ABSENT),
        curves.goal(stage),
        _training(stage),
        _bounded(stage, "retention"),
        _allowed(stage),
        _gate(bool(stage.get("passed"))),
    ]
    head = element("th", str(number), scope="row")
    why = element("small", str(stage["note"])) if stage.get("note") else None
    then = element("td", curves.action(stage), why, class_="reason")
    rest = [element("td", c) for c in cells]
    return element("tr", head, *rest, then, id=f"attempt-{number}", tabindex=-1)


def _training(stage: Mapping[str, Any]) -> Html:
    seconds, rounds = real(stage, "training_s"), real(stage, "iterations")
    took = f", {wording.duration(seconds)}" if seconds is not None else ""
    small = element("small", f"{wording.whole(rounds)} iterations{took}")
    return join([str(stage.get("method") or wording.ABSENT), small])


def _allowed(stage: Mapping[str, Any]) -> Html:
    most = element("small", f"allowed {wording.number(real(stage, 'sliced_allowed'))}")
    return join([wording.number(real(stage, "sliced")), most])


def _bounded(row: Mapping[str, Any], name: str, write: Any = wording.number) -> Html:
    within = wording.interval(spread(row, name), write)
    return join([write(real(row, name)), element("small", f"[{within}]") if within else None])


def _gate(passed: bool | None) -> Child:
    if passed is None:
        return ""
    return "✓ passed" if passed else element("strong", "✗ refused", class_="warning")


def _ended(reason: Any) -> str:
    text = str(reason or "No reason was recorded").strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _notes(found: Mapping[str, Any]) -> Html:
    sets = found.get("noise_sets")
    over = f" over {wording.count(sets, 'noise set')}" if isinstance(sets, int) else ""
    lines = (
        "Retention is the reference's quality gap over the setting's own, the floor of equally "
        "good images added to both: 1 is the reference, less is worse.",
        f"An attempt passes the gate where its retention{over} is at least "
        f"{wording.fraction(real(found, 'quality_threshold'))}, the lower end of its 90% interval "
        "is not more than 0.05 below that, and its sliced Wasserstein distance is not above what "
        "is allowed beyond its interval.",
        "Retentions of students are averages over all noise sets with 90% intervals; those of "
        "training-free settings, and all gaps, are of the first noise set with 95% intervals.",
        "A refused attempt is forgotten: the next one starts from the last student that passed.",
        f"Latencies are per image, measured on {wording.device(found)}; they compare within this "
        "page, not with other machines. Sizes are counted exactly.",
        "What was not measured is shown as a dash, and no figure has a point for it.",
    )
    return element("ul", *(element("li", line) for line in lines), class_="notes")
