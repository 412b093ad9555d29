from __future__ import annotations

import math
import re
from typing import Any

import pytest

from reports.gains import gains, key_numbers, sentence, subtitle
from reports.terminal import show_optimized
from reports.wording import ABSENT, TIMES


def plain(text: str) -> str:
    """A sentence without tags, its ratios with the letter x."""
    return re.sub(r"<[^>]+>", "", text).replace(TIMES, "x")


def test_ratios_are_those_of_the_rows(tradeoff: dict[str, Any]) -> None:
    rows = tradeoff["rows"]
    won = gains(tradeoff)
    assert won is not None and won.chosen is rows[-1]
    assert won.speedup == pytest.approx(50 / 4 * 2)
    assert won.compression == pytest.approx(4)
    assert won.rival is rows[2]  # 12 steps keep 0.97; 8 keep less than the student's 0.96
    assert won.over_training_free == pytest.approx(12 / 4 * 2)


def test_sentence_says_gained_and_lost(tradeoff: dict[str, Any]) -> None:
    text = plain(sentence(tradeoff))
    assert text == (
        "4 steps in place of 50 draw images 25x faster than the reference from a model 4.0x "
        "smaller, at retention 0.96 [0.92 to 0.99], and 6.0x faster than the best training-free "
        "setting of no lower retention."
    )
    assert "12 steps: 10.6 ms at retention 0.97" in subtitle(tradeoff)
    assert "1,000 images on each of 4 noise sets" in subtitle(tradeoff)
    assert [n.value.rstrip(TIMES) for n in key_numbers(tradeoff)] == [
        "12",
        "25",
        "4.0",
        "0.96",
    ]


def test_sentence_says_so_when_no_training_free_setting_keeps_as_much(
    tradeoff: dict[str, Any],
) -> None:
    tradeoff["rows"][-1] |= {"retention": 1.2, "size_mb": 2.61, "steps": 1}
    text = plain(sentence(tradeoff))
    assert text.startswith("1 step in place of 50 draws images")
    assert text.endswith("which no training-free setting that was measured keeps.")
    assert "from a model of the same size" in text
    assert [n.label for n in key_numbers(tradeoff)] == [
        "fewer steps",
        "faster",
        "quality retention",
    ]


def test_the_reference_is_a_setting_too_where_no_cheaper_one_keeps_as_much(
    tradeoff: dict[str, Any],
) -> None:
    tradeoff["rows"][-1]["retention"] = 0.999
    won = gains(tradeoff)
    assert won is not None and won.rival is won.reference
    assert won.over_training_free == won.speedup == pytest.approx(50 / 4 * 2)
    text = plain(sentence(tradeoff))
    assert text.endswith(
        ", which no training-free setting that was measured keeps but the reference."
    )
    assert "fastest setting" not in subtitle(tradeoff)


def test_sentence_says_so_when_the_target_was_missed(tradeoff: dict[str, Any]) -> None:
    tradeoff["reached"] = False
    tradeoff["rows"][-1]["steps"] = 7
    assert sentence(tradeoff).startswith("The target of 4 steps was not reached: 7 steps draw")
    tradeoff["rows"][-1]["steps"] = 4
    assert sentence(tradeoff).startswith("The target was not reached: 4 steps draw")


def test_sentence_says_slower_when_it_is(tradeoff: dict[str, Any]) -> None:
    tradeoff["rows"][-1] |= {"latency_ms": 88.4, "size_mb": 5.22}
    text = plain(sentence(tradeoff))
    assert "2.0x slower than the reference" in text and "2.0x larger" in text
    assert [(plain(n.value), n.label) for n in key_numbers(tradeoff)[1:3]] == [
        ("2.0x", "slower"),
        ("2.0x", "larger"),
    ]


def test_sentence_says_how_near_it_came_when_nothing_passed(
    tradeoff: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tradeoff["rows"] = tradeoff["rows"][:5]
    tradeoff["stages"] = tradeoff["stages"][1:2]
    said = (
        "No student passed the gate at retention 0.95: the only attempt kept 0.92 [0.89 to 0.94] "
        "with 4 steps."
    )
    assert sentence(tradeoff) == said and key_numbers(tradeoff) == []
    assert "The last attempt: retention 0.92 is below 0.95." in subtitle(tradeoff)
    show_optimized(tradeoff)
    assert capsys.readouterr().out.splitlines()[0] == said
    tradeoff["rows"].append({"kind": "student", "chosen": True, "passed": False})
    assert sentence(tradeoff) == said and "The best of them was kept" in subtitle(tradeoff)
    tradeoff["stages"] *= 2
    assert "the best of 2 attempts kept 0.92" in sentence(tradeoff)
    tradeoff["stages"] = [{"retention": math.nan}]
    assert "none of 1 attempt could be judged" in sentence(tradeoff)
    assert "Nothing was trained" in sentence({}) and "Run it again" in subtitle({})


def test_sentence_is_written_when_figures_are_missing(tradeoff: dict[str, Any]) -> None:
    tradeoff["rows"] = [{"kind": "student", "chosen": True, "retention": math.nan}]
    text = sentence(tradeoff)
    assert "nan" not in text and "None" not in text
    assert "The student draws images at an unknown speed" in text
    assert [n.value for n in key_numbers(tradeoff)] == [ABSENT] * 4


def test_terminal_shows_sentence_stages_and_folder(
    tradeoff: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    show_optimized({**tradeoff, "model": "models/made-up"})
    lines = capsys.readouterr().out.splitlines()
    assert plain(lines[0]).startswith("4 steps in place of 50 draw images 25x faster than")
    assert len(lines) == 1 + 1 + len(tradeoff["stages"]) + 1
    assert "7 -> 4 steps" in lines[3] and "refused" in lines[3] and "doubled" in lines[3]
    assert lines[-1] == "model: models/made-up"
