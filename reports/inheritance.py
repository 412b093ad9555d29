"""Whether a choice won only because more of the teacher's weights fitted it."""

from __future__ import annotations

from reports.effects import Effect, effects
from reports.influence import cell
from reports.markup import Child, Html, element, join, table
from reports.measurements import has_scores, real
from studies.record import StudyRecord

ATTRIBUTE = "inherited_fraction"


def inheritance_table(record: StudyRecord) -> Html | None:
    """The gap of a typical student with each choice, as it was and at equal inheritance.

    Args:
        record: the study.

    Returns:
        A table with a sentence; None where inheritance was the same in all trials, or not noted,
        or where the trials can tell no choice apart.
    """
    found = [t for t in record.trials if t.state == "complete" and has_scores(t)]
    shares = {t.number: real(t.attributes, ATTRIBUTE) for t in found}
    known = [s for s in shares.values() if s is not None]
    if len(known) < len(found) or len(set(known)) < 2:
        return None
    plain, equal = effects(record), effects(record, at=ATTRIBUTE)
    if not any(e.figures for e in equal):
        return None
    rows = []
    for before, after in zip(plain, equal, strict=True):
        own = [
            s
            for t in found
            if str(t.params[before.dimension]) == before.choice
            and (s := shares[t.number]) is not None
        ]
        rows.append(_row(before, after, sum(own) / len(own)))
    text = (
        "A student starts with as many of the teacher's weights as fit it. Where a choice looks "
        "good in the first column of gaps and not in the second, it may have won because it was "
        "inheritable, and a longer training could turn the order. Both are of a typical student, "
        "the second one at the average share inherited."
    )
    heads: list[Child] = ["Choice", "Inherited share", "Gap", "Gap at equal inheritance"]
    return join(
        [
            element("h3", "The bias of inheritance"),
            element("p", text, class_="muted"),
            element(
                "details",
                element("summary", "Gap with and without inheritance, by choice"),
                table(heads, rows, label="The bias of inheritance"),
            ),
        ]
    )


def _row(before: Effect, after: Effect, share: float) -> Html:
    name = before.dimension.replace("_", " ")
    return element(
        "tr",
        element("th", f"{name}: {before.choice}", scope="row"),
        element("td", f"{share:.0%}"),
        element("td", cell(before.figures.get("gap"))),
        element("td", cell(after.figures.get("gap"))),
    )
