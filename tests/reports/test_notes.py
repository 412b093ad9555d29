from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt

from reports.measurements import final, has_scores
from reports.notes import escaped, study_note, trial_note
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]
NASTY = "a_b*c* `d` <img src=x onerror=alert(1)> [e](javascript:f) ![g](http://h) | ~~i~~ &amp; \\"


def shown(markdown: str) -> str:
    """The text that a reader of the rendered Markdown sees."""
    return "".join(
        inner.content
        for token in MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
        for inner in token.children or ()
        if inner.type in ("text", "code_inline", "html_inline")
    )


def kinds(markdown: str) -> set[str]:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    return {inner.type for token in tokens for inner in token.children or ()}


def test_text_is_shown_as_it_was_typed_when_it_looks_like_markup() -> None:
    assert shown(f"It says {escaped(NASTY)}") == f"It says {NASTY}"
    assert kinds(f"It says {escaped(NASTY)}") == {"text"}
    assert shown("x " + escaped("# two\n\n- lines")) == "x # two - lines"


def test_note_of_a_scored_trial_says_what_it_gains_under_its_samples(
    make_study: MakeStudy,
) -> None:
    record = make_study(scores=8, stops=0)
    assert record.best is not None
    note = trial_note(record, record.trial(record.best), "/artifacts/1/2/abc")
    image, said = note.split("\n\n")
    assert image == f"![Samples of trial {record.best}](/artifacts/1/2/abc)"
    found = final(record, record.trial(record.best))
    assert found and found.retention_interval
    low, high = found.retention_interval
    assert f"**Retention {found.retention:.2f}** ({low:.2f} to {high:.2f})" in said
    assert "faster (" in said and "smaller (" in said and said.endswith("measured again.")


def test_note_names_the_limits_when_a_scored_trial_is_over_them(make_study: MakeStudy) -> None:
    record = make_study(scores=3, stops=0)
    trial = dataclasses.replace(record.trials[0], constraints={"latency": -0.1, "retention": 0.2})
    assert trial_note(record, trial).endswith("**Over the limit** of retention.")


def test_note_of_a_duplicate_says_whose_scores_it_has(make_study: MakeStudy) -> None:
    record = make_study(scores=2, stops=0)
    reason = "the candidate of trial 0 again; its scores are reused"
    trial = dataclasses.replace(record.trials[1], state="duplicate", reason=reason)
    assert trial_note(record, trial).endswith(f"\n\nIt is {reason}.")


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("loss is <b>nan</b>", r"**Stopped before scoring:** loss is \<b\>nan\</b\>."),
        ("", "(pruned"),
    ],
)
def test_note_says_why_a_trial_stopped(make_study: MakeStudy, reason: str, said: str) -> None:
    record = make_study(scores=1, stops=1)
    trial = next(t for t in record.trials if not has_scores(t))
    note = trial_note(record, dataclasses.replace(trial, state="pruned", reason=reason))
    assert said in note and "![" not in note


def test_note_of_a_study_escapes_a_folder_that_somebody_named(make_study: MakeStudy) -> None:
    record = make_study(scores=4, stops=1)
    task = {**record.config.get("task", {}), "teacher_folder": NASTY}
    limits = {"min_retention": 0.55, "max_latency_ms": 1.25}
    space = {"widths": ["8-16", "16-32"], "patch": [2], "anchors": ["a", "b"]}
    config = {**record.config, "task": task, "limits": limits, "space": space}
    note = study_note(dataclasses.replace(record, config=config))
    assert NASTY in shown(note)
    assert f"Trial {record.best} draws images" in note
    assert "**Searched:** widths (2)\n" in note
    assert "retention at least 0.55, latency at most 1.25 ms an image" in note
    assert "not the one called Pareto Front" in note
    assert not kinds(note) & {"link_open", "image", "html_inline"}


def test_note_of_a_study_without_trials_says_that_nothing_is_picked(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord]
) -> None:
    note = study_note(without_trials(make_study(scores=1, stops=0)))
    assert note.startswith("No student is picked yet.")
