"""What other measures of quality say: whether they rank alike, and whether they pick alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scipy.stats import spearmanr

from reports import wording
from reports.markup import Child, Html, element, join, table
from reports.measurements import has_scores, real
from studies.record import StudyRecord, TrialRecord
from studies.selection import best, standing

MEASURES = {
    "sliced": ("Sliced Wasserstein distance", False),
    "kernel": ("Kernel distance (KID)", False),
    "density": ("Density", True),
    "coverage": ("Coverage", True),
}
"""What each is called, and whether more is better."""

LEAST = 4  # scored trials for a rank correlation


@dataclass(frozen=True)
class Opinion:
    """One measure beside the gap, as the search took both."""

    measure: str
    reference: float | None
    pick: float | None
    agreement: float | None  # Spearman: 1 where it ranks the trials as the gap does
    choice: int | None  # what the rule picks when retention is by this measure


def opinions(record: StudyRecord) -> list[Opinion]:
    """What the measures that trials carry say about the trials.

    Args:
        record: the study.

    Returns:
        One entry a measure that every scored trial has.
    """
    trials = [t for t in record.trials if t.state == "complete" and has_scores(t)]
    found = []
    for measure, (_, more) in MEASURES.items():
        values = [real(t.attributes, measure) for t in trials]
        own = [v for v in values if v is not None]
        if not trials or len(own) < len(trials):
            continue
        gaps = [t.values["gap"] for t in trials]
        worse = [-v for v in own] if more else own
        spread = len(trials) >= LEAST and len(set(gaps)) > 1 and len(set(own)) > 1
        agreement = float(spearmanr(gaps, worse).statistic) if spread else None
        picked = None if record.best is None else record.trial(record.best)
        found.append(
            Opinion(
                measure,
                real(record.reference, measure),
                real(picked.attributes, measure) if picked else None,
                agreement,
                _choice(record, measure),
            )
        )
    return found


def opinion_table(record: StudyRecord) -> Html | None:
    """The opinions with a sentence each on ranking and pick; None where no measure was kept.

    Args:
        record: the study.
    """
    found = opinions(record)
    if not found:
        return None
    text = (
        "The search optimized the gap alone. Agreement is the rank correlation over all scored "
        "trials: 1 where a measure ranks them as the gap does, 0 where it has nothing to do with "
        "it. The last column is what the same rule would pick, were retention counted by that "
        "measure."
    )
    heads: list[Child] = ["Measure", "Reference", "The pick", "Agreement with the gap", "Picks"]
    rows = [_row(record, o) for o in found]
    return join(
        [
            element("h3", "What other measures say"),
            element("p", text, class_="muted"),
            table(heads, rows, label="Other measures of quality"),
            _memory(record),
        ]
    )


def _choice(record: StudyRecord, measure: str) -> int | None:
    members = [record.trial(n) for n in record.front]
    kept = {t.number: _kept(record, t, measure) for t in members}
    if any(value is None for value in kept.values()):
        return None
    return best([replace(standing(record, n), kept=found or 0.0) for n, found in kept.items()])


def _kept(record: StudyRecord, trial: TrialRecord, measure: str) -> float | None:
    """Share of the reference's quality by this measure; None where it has no ratio."""
    own, against = real(trial.attributes, measure), real(record.reference, measure)
    if own is None or against is None or measure == "kernel":  # that one may be below 0
        return None
    if MEASURES[measure][1]:
        return own / against if against > 0 else None
    floor = real(trial.attributes, f"{measure}_floor") or 0.0
    return (against + floor) / (own + floor) if own + floor > 0 else math.inf


def _row(record: StudyRecord, found: Opinion) -> Html:
    name, more = MEASURES[found.measure]
    better = element("small", "more is better" if more else "less is better")
    agreement = wording.ABSENT if found.agreement is None else f"{found.agreement:.2f}"
    picks: Child = wording.ABSENT
    if found.choice is not None:
        link = element("a", f"trial {found.choice}", href=f"#trial-{found.choice}")
        same = found.choice == record.best
        note = element("small", "the same" if same else "another one")
        picks = join([link, note])
    return element(
        "tr",
        element("th", name, better, scope="row"),
        element("td", wording.number(found.reference)),
        element("td", wording.number(found.pick)),
        element("td", agreement),
        element("td", picks),
    )


def _memory(record: StudyRecord) -> Html | None:
    """Whether the pick repeats its training images."""
    attributes = {} if record.best is None else record.trial(record.best).attributes
    ratio = real(attributes, "nearest_ratio")
    if ratio is None:
        return None
    words = (
        f"Memorizing: images of the pick lie {ratio:.2f} times as far from their nearest training "
        "image as held-out ones do"
    )
    if attributes.get("memorizing"):
        warning = element("strong", "; it repeats what it was trained on.", class_="warning")
        return element("p", words, warning)
    return element("p", f"{words}; it does not repeat them.")
