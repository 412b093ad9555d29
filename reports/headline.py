"""The answer in one sentence and three numbers, or why there is none and what to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from reports import wording
from reports.markup import Child, Html, element, join
from reports.measurements import Measurements, has_scores, pick, real
from studies.record import Finalist, StudyRecord, TrialRecord


@dataclass(frozen=True)
class KeyNumber:
    """One large number: what it is, its interval and what it stands against."""

    value: str
    label: str
    interval: str
    detail: str


def sentence(record: StudyRecord) -> Html:
    """The headline: the pick against the reference, or why there is no pick.

    Args:
        record: the study.

    Returns:
        One sentence of HTML.
    """
    best = pick(record)
    if best is None:
        return join([_no_pick(record)])
    within = wording.interval(best.retention_interval, wording.fraction)
    return join(
        [
            f"Trial {best.number} draws images ",
            element("em", wording.faster(best.speedup)),
            " as" if wording.same(best.speedup) else " than",
            " its teacher, from a model ",
            element("em", wording.smaller(best.compression)),
            ", at retention ",
            element("em", wording.fraction(best.retention)),
            f" [{within}]" if within else None,
            f", on {wording.device(record.environment)}.",
        ]
    )


def subtitle(record: StudyRecord) -> Html:
    """What the headline is measured against, and whether it was measured twice.

    Args:
        record: the study.

    Returns:
        Up to three sentences of HTML; for a study without a pick, what to do next.
    """
    best = pick(record)
    if best is None:
        return join([_next_step(record)])
    reference = f"The reference is the teacher with {wording.sampler(record.reference)}. "
    return join([reference, _against_training_free(best), _trust(record, best)])


def key_numbers(record: StudyRecord) -> list[KeyNumber]:
    """Faster, smaller and quality kept, each with what it stands against.

    Args:
        record: the study.

    Returns:
        Three numbers, or none for a study without a pick.
    """
    best = pick(record)
    return (
        []
        if best is None
        else [_faster(record, best), _smaller(record, best), _kept(record, best)]
    )


def bound_hit(record: StudyRecord) -> list[tuple[str, int]]:
    """How often each limit was what stopped a trial.

    Args:
        record: the study.

    Returns:
        Names of limits with the number of trials over them, most often first.
    """
    over = Counter(n for t in record.trials for n, v in t.constraints.items() if v > 0)
    return over.most_common()


def closest(record: StudyRecord) -> TrialRecord | None:
    """The trial over some limit by the least in all, or None where none is."""
    over = [t for t in record.trials if not t.feasible]
    return min(over, key=lambda t: sum(max(0.0, v) for v in t.constraints.values()), default=None)


def _faster(record: StudyRecord, best: Measurements) -> KeyNumber:
    against = wording.number(real(record.reference, "latency_ms"))
    return KeyNumber(
        *wording.change(best.speedup, "faster", "slower", "the speed"),
        _timings(best),
        f"{wording.number(best.latency_ms)} against {against} ms an image",
    )


def _timings(best: Measurements) -> str:
    within = wording.interval(best.speedup_interval, wording.times)
    return f"{within}, quartiles of timings" if within else ""


def _smaller(record: StudyRecord, best: Measurements) -> KeyNumber:
    against = wording.number(real(record.reference, "size_mb"))
    return KeyNumber(
        *wording.change(best.compression, "smaller", "larger", "the size"),
        "counted exactly",
        f"{wording.number(best.size_mb)} MB against {against} MB",
    )


def _kept(record: StudyRecord, best: Measurements) -> KeyNumber:
    gap, floor = real(record.reference, "gap"), real(record.reference, "floor")
    within = wording.interval(best.retention_interval, wording.fraction)
    return KeyNumber(
        wording.fraction(best.retention),
        "quality retention",
        f"{within}, 95% interval" if within else "",
        f"gap {wording.number(best.gap)} against {wording.number(gap)}, "
        f"floor {wording.number(floor)}",
    )


def _against_training_free(best: Measurements) -> str:
    if best.speedup_training_free is None:
        return (
            "No setting of the teacher's own sampler that was measured keeps this much quality. "
        )
    return (
        f"The pick is {wording.times(best.speedup_training_free)} as fast as the fastest setting "
        "of the teacher's own sampler that loses no more quality. "
    )


def _trust(record: StudyRecord, best: Measurements) -> Child:
    for found in record.finalists:
        if found.number == best.number:
            return _over_seeds(found)
    if not best.remeasured:
        return element(
            "strong", "These are the search's own scores; they were not measured again."
        )
    if best.repeated is False:
        return element(
            "strong", "The pick did not repeat: measured again, it missed the search's own score."
        )
    return (
        "These figures were measured again on noise and held-out images that the search never saw."
    )


def _over_seeds(found: Finalist) -> Child:
    said = f"{found.repeats} of {wording.count(len(found.seeds), 'training')} from other seeds"
    if found.repeated is None:
        return element(
            "strong", f"Whether the pick repeats is not known: {said} did, and not all ended well."
        )
    if not found.repeated:
        return element("strong", f"The pick did not repeat: {said} did.")
    return (
        f"The pick repeated in {said}; its figures are their means, on noise and held-out images "
        "that the search never saw."
    )


def _no_pick(record: StudyRecord) -> str:
    if not record.trials:
        return f"Study {record.name} has no trials yet."
    scored = sum(has_scores(t) for t in record.trials)
    amount = wording.count(len(record.trials), "trial")
    if not scored:
        return f"No student was scored: {amount} ended before scoring."
    if not any(has_scores(t) and t.feasible for t in record.trials):
        return (
            f"No student is within the limits: of {amount}, {scored} were scored "
            "and none met them all."
        )
    return f"{amount} so far, none picked yet."


def _next_step(record: StudyRecord) -> str:
    if not record.trials:
        return "Run the search again; it resumes where it stands, and a report follows."
    over, near = bound_hit(record), closest(record)
    words = [f"{name} by {wording.count(n, 'trial')}" for name, n in over]
    said = f"Limits missed: {', '.join(words)}. " if words else ""
    if near is None:
        reasons = Counter(t.reason for t in record.trials if t.reason).most_common(3)
        why = "; ".join(f"{reason} ({n}{wording.TIMES})" for reason, n in reasons)
        return said + (f"Reasons given: {why}." if why else "No reason was recorded.")
    missed = ", ".join(n for n, v in near.constraints.items() if v > 0)
    return (
        f"{said}Closest was trial {near.number}: {near.reason or f'it missed {missed}'}. "
        "Loosen that limit, or widen the space."
    )
