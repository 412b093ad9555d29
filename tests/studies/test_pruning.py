"""The rule of the rungs against a plain one, on random rungs."""

from __future__ import annotations

import dataclasses
import math
import random
from fractions import Fraction

import pytest

from ado_nas.errors import ConfigError
from studies.pruning import COMPLETE, FULL, Entry, Rule, behind, hopeless, rungs, verdict

RULE = Rule(factor=2, min_retention=0.0, latency=1.5, size=1.5)
DRAWS = 300


def entry(draw: random.Random, digits: int = 1) -> Entry:
    """A made-up one; few digits make ties."""
    gap, latency, size = (round(draw.random(), digits) for _ in range(3))
    return Entry((gap, latency, size), retention=1 - gap / 2, retention_high=1 - gap / 3)


def rung(draw: random.Random, least: int = 0) -> list[Entry]:
    return [entry(draw) for _ in range(draw.randint(least, 14))]


def beats(one: Entry, other: Entry) -> bool:
    pairs = list(zip(one.point, other.point, strict=True))
    return one.point != other.point and all(a <= b for a, b in pairs)


def standing_before(own: Entry, others: list[Entry]) -> tuple[int, int]:
    """How many are on earlier fronts, and how many share its own, by peeling."""
    left, earlier = [own, *others], 0
    while True:
        front = [e for e in left if not any(beats(o, e) for o in left)]
        if any(e is own for e in front):
            return earlier, len(front) - 1
        earlier += len(front)
        left = [e for e in left if not any(e is f for f in front)]


def test_newcomer_that_dominates_goes_on_whatever_is_asked() -> None:
    draw = random.Random(0)
    for _ in range(DRAWS):
        others = [dataclasses.replace(e, final=e.retention) for e in rung(draw)]
        points = [e.point for e in others] or [(1.0, 1.0, 1.0)]
        best = tuple(min(p[i] for p in points) - 0.01 for i in range(3))
        own = dataclasses.replace(entry(draw), point=best)
        harsh = dataclasses.replace(RULE, factor=draw.randint(2, 9), min_retention=5.0)
        assert verdict(own, others, harsh) == ""


def test_verdict_does_not_depend_on_the_order_of_the_others() -> None:
    draw = random.Random(1)
    for digits in (1, 17):
        for _ in range(DRAWS):
            others = [entry(draw, digits) for _ in range(draw.randint(0, 20))]
            others = [
                dataclasses.replace(e, final=draw.random()) if draw.random() < 0.5 else e
                for e in others
            ]
            own, rule = entry(draw, digits), dataclasses.replace(RULE, min_retention=0.6)
            found = verdict(own, others, rule)
            draw.shuffle(others)
            assert verdict(own, others, rule) == found


def test_trial_that_all_dominate_stops_on_a_full_rung() -> None:
    draw = random.Random(2)
    for _ in range(DRAWS):
        others = rung(draw, least=FULL - 1)
        worst = tuple(max(e.point[i] for e in others) + 0.01 for i in range(3))
        own = dataclasses.replace(entry(draw), point=worst)
        assert verdict(own, others, dataclasses.replace(RULE, factor=draw.randint(2, 5)))
        assert verdict(own, others[: FULL - 2], RULE) == ""


def test_trial_goes_on_by_its_front_and_stops_behind_the_share_that_does() -> None:
    draw = random.Random(3)
    stopped = 0
    for _ in range(DRAWS):
        own, others = entry(draw), rung(draw, least=FULL)
        rule = dataclasses.replace(RULE, factor=draw.randint(2, 4))
        earlier, beside = standing_before(own, others)
        room = math.ceil((len(others) + 1) * (Fraction(1, rule.factor) + Fraction(1, 10)))
        found = behind(own, others, rule)
        if earlier == 0 or earlier + beside < room:
            assert found == ""
        elif earlier >= room:
            assert found
        stopped += bool(found)
    assert DRAWS / 4 < stopped < DRAWS  # the draws try both ends


def test_hypervolume_decides_inside_the_front_that_is_cut() -> None:
    # One point ahead of three that share the second front; two of the four go on.
    first, wide = Entry((0, 0.5, 0.5), 1, 1), Entry((0.1, 0.9, 0.5), 1, 1)
    most, least = Entry((0.5, 0.5, 0.5), 1, 1), Entry((0.09, 1.4, 0.51), 1, 1)
    rule = dataclasses.replace(RULE, factor=3)
    assert behind(most, [first, wide, least], rule)
    assert behind(least, [first, wide, most], rule)
    assert behind(wide, [first, most, least], rule) == ""
    assert behind(first, [wide, most, least], rule) == ""


def test_retention_below_the_least_stops_by_more_than_its_interval_only() -> None:
    rule = dataclasses.replace(RULE, min_retention=0.5)
    gained = [0.9, 1.2, 1.5, 1.1]  # what the rest of the training made of others
    others = [Entry((0.0, 0.1, 0.1), 0.4, 0.5, final=0.4 * g) for g in gained]
    low = Entry((0.9, 0.0, 0.0), 0.2, 0.3)
    assert "at most 0.45 in the end where 0.5 is wanted" in hopeless(low, others, rule)
    assert hopeless(dataclasses.replace(low, retention_high=0.34), others, rule) == ""
    unknown = [*others[: COMPLETE - 1], Entry((0.0, 0.1, 0.1), 0.4, 0.5)]
    assert hopeless(low, unknown, rule) == ""
    assert verdict(low, others, rule).startswith("retention 0.20")
    # Training does not only add: what lost some at most keeps what it has.
    lost = [dataclasses.replace(e, final=0.2) for e in others]
    assert "at most 0.30" in hopeless(low, lost, rule)


def test_trial_that_hardly_reaches_the_least_retention_comes_after_those_that_do() -> None:
    rule = dataclasses.replace(RULE, min_retention=0.5)
    done = [Entry((0.1 * i, 1.0 - 0.1 * i, 0.5), 0.4, 0.5, final=0.4 * 1.25) for i in range(4)]
    # Smaller than all of them, and on the front of all.
    tiny = Entry((2.0, 0.1, 0.1), 0.39, 0.5)
    assert hopeless(tiny, done, rule) == ""
    assert behind(tiny, done, rule) == "4 of 4 are ahead, it is on front 1"
    assert behind(dataclasses.replace(tiny, retention=0.41), done, rule) == ""
    assert behind(tiny, done, RULE) == ""


def test_rungs_multiply_up_to_three_quarters_of_the_training() -> None:
    assert rungs(500, 0, 2) == (125, 250)
    assert rungs(500, 40, 3) == (40, 120, 360)
    assert rungs(80, 20, 2) == (20, 40)
    assert rungs(3, 0, 2) == (1, 2)
    assert rungs(10, 10, 2) == ()


@pytest.mark.parametrize(("grace", "factor"), [(-1, 2), (5, 1)])
def test_rungs_that_cannot_be_climbed_are_refused(grace: int, factor: int) -> None:
    with pytest.raises(ConfigError, match=f"grace {grace} and factor {factor}"):
        rungs(100, grace, factor)
