"""What an optimization gained and what it lost, in one sentence and a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports import setback, wording
from reports.headline import KeyNumber
from reports.markup import Child, Html, element, join
from reports.measurements import bounds, real

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Gains:
    """The chosen student beside what it is held against, as rows of the trade-off."""

    chosen: Row
    reference: Row  # empty where there is none
    rival: Row | None  # the fastest setting of the teacher, reference or not, that keeps as much

    @property
    def speedup(self) -> float | None:
        """Times faster than the reference."""
        return ratio(self.reference, self.chosen, "latency_ms")

    @property
    def compression(self) -> float | None:
        """Times smaller than the reference."""
        return ratio(self.reference, self.chosen, "size_mb")

    @property
    def over_training_free(self) -> float | None:
        """Times faster than the rival; None without one."""
        return ratio(self.rival or {}, self.chosen, "latency_ms")


def gains(found: Mapping[str, Any]) -> Gains | None:
    """The chosen student with what it is held against.

    Args:
        found: the trade-off as `optimize` writes it.

    Returns:
        The gains, or None where no student was chosen or the gate refused the one that was.
    """
    rows = found.get("rows") or []
    chosen = next((r for r in rows if r.get("chosen") and r.get("kind") == "student"), None)
    if chosen is None or chosen.get("passed") is False:
        return None
    return Gains(chosen, reference(rows), _rival(rows, chosen))


def reference(rows: list[Row]) -> Row:
    """The row of the reference, empty where there is none."""
    return next((r for r in rows if r.get("kind") == "reference"), {})


def ratio(above: Row, below: Row, name: str) -> float | None:
    """One row's figure over another's.

    Args:
        above: a row.
        below: a row.
        name: ``latency_ms``, ``size_mb`` or ``steps``.

    Returns:
        The ratio, or None where it is not known.
    """
    over, under = real(above, name), real(below, name)
    return over / under if over is not None and under else None


def sentence(found: Mapping[str, Any]) -> Html:
    """The headline: gained and lost against the reference, or why there is nothing.

    Args:
        found: the trade-off.

    Returns:
        One sentence of HTML.
    """
    won = gains(found)
    if won is None:
        return join([setback.sentence(found)])
    return join(
        [
            _start(found, won),
            *_changes(won),
            ", at retention ",
            element("em", _kept(won.chosen)),
            _within(won.chosen),
            *_against(won),
            ".",
        ]
    )


def subtitle(found: Mapping[str, Any]) -> Html:
    """What the headline is measured against and on; without a student, what to do next.

    Args:
        found: the trade-off.

    Returns:
        A few sentences of HTML.
    """
    won = gains(found)
    if won is None:
        return join([setback.advice(found), " ", _measured(found)])
    source, rival = won.reference, won.rival
    words = [f"The reference is the teacher with {wording.setting(source)}." if source else ""]
    if rival is not None and rival is not source:
        cost = wording.number(real(rival, "latency_ms"))
        words.append(
            "The fastest setting of its own sampler that loses no more quality is "
            f"{wording.setting(rival)}: {cost} ms at retention {_kept(rival)}."
        )
    words.append(_measured(found))
    return join([" ".join(w for w in words if w)])


def key_numbers(found: Mapping[str, Any]) -> list[KeyNumber]:
    """Fewer steps, faster, smaller and quality kept, each with what it stands against.

    Args:
        found: the trade-off.

    Returns:
        Three numbers, four where the size changed, none without a student.
    """
    won = gains(found)
    if won is None:
        return []
    own, source = won.chosen, won.reference
    numbers = [
        KeyNumber(
            wording.times(ratio(source, own, "steps")), "fewer steps", "", _pair(won, "steps")
        ),
        KeyNumber(
            *wording.change(won.speedup, "faster", "slower", "the speed"),
            "",
            _pair(won, "latency_ms", " ms an image"),
        ),
    ]
    if not wording.same(won.compression):
        changed = wording.change(won.compression, "smaller", "larger")
        numbers.append(KeyNumber(*changed, "", _pair(won, "size_mb", " MB")))
    kept = KeyNumber(
        _kept(own),
        "quality retention",
        wording.interval(bounds(own, "retention"), wording.fraction),
        f"gap {_pair(won, 'gap')}",
    )
    return [*numbers, kept]


def _start(found: Mapping[str, Any], won: Gains) -> str:
    steps, before = won.chosen.get("steps"), won.reference.get("steps")
    amount = wording.count(steps, "step") if isinstance(steps, int) else "The student"
    draws = "draw images " if isinstance(steps, int) and steps != 1 else "draws images "
    if found.get("reached") is False:
        stages = (found.get("plan") or {}).get("stages") or [0]
        missed = isinstance(steps, int) and steps > stages[-1] > 0
        target = f" of {wording.count(stages[-1], 'step')}" if missed else ""
        return f"The target{target} was not reached: {amount} {draws}"
    return f"{amount} in place of {before} {draws}" if before else f"{amount} {draws}"


def _changes(won: Gains) -> list[Child]:
    speed, size = won.speedup, won.compression
    words: list[Child] = ["at an unknown speed"]
    if speed is not None:
        than = " as the reference" if wording.same(speed) else " than the reference"
        words = [element("em", wording.faster(speed)), than]
    if size is None:
        return words
    return [*words, " from a model ", element("em", wording.smaller(size))]


def _against(won: Gains) -> list[Child]:
    gained = won.over_training_free
    if gained is None:
        return [", which no training-free setting that was measured keeps"]
    if won.rival is won.reference:
        return [", which no training-free setting that was measured keeps but the reference"]
    if wording.same(gained):
        return [", and as fast as the best training-free setting of no lower retention"]
    change = element("em", wording.faster(gained))
    return [", and ", change, " than the best training-free setting of no lower retention"]


def _rival(rows: list[Row], chosen: Row) -> Row | None:
    least = real(chosen, "retention")
    kinds = ("training_free", "reference")
    free = [r for r in rows if r.get("kind") in kinds and real(r, "latency_ms")]
    enough = [r for r in free if least is not None and (real(r, "retention") or 0.0) >= least]
    return min(enough, key=lambda r: float(r["latency_ms"]), default=None)


def _measured(found: Mapping[str, Any]) -> str:
    count, sets = found.get("samples"), found.get("noise_sets")
    where = wording.device(found)
    if not isinstance(count, int) or not isinstance(sets, int):
        return f"Measured on {where}."
    about = wording.count(sets, "noise set")
    return f"Measured on {where}, quality from {wording.count(count, 'image')} on each of {about}."


def _pair(won: Gains, name: str, unit: str = "") -> str:
    write = wording.whole if name == "steps" else wording.number
    own, source = write(real(won.chosen, name)), write(real(won.reference, name))
    return f"{own} against {source}{unit}"


def _kept(row: Row) -> str:
    return wording.fraction(real(row, "retention"))


def _within(row: Row) -> str | None:
    within = wording.interval(bounds(row, "retention"), wording.fraction)
    return f" [{within}]" if within else None
