from __future__ import annotations

import numpy as np
import pytest

from ado_nas.errors import ConfigError, NegativeVerdict
from studies.selection import knee, logs, members, overtaken, pick, select, spread
from tests.fakes.fake_study import finalist, study, trial


def test_pick_is_nobody_when_the_front_is_empty() -> None:
    assert pick(study()) is None


def test_pick_is_the_fastest_and_smallest_of_those_good_enough() -> None:
    front = [trial(0, 0.99, 9.0), trial(1, 0.91, 4.0, 2.0), trial(2, 0.9, 3.0, 3.0)]
    assert pick(study(*front, trial(3, 0.5, 1.0))) == 1  # 8 < 9 = 9


def test_pick_is_the_best_kept_when_none_is_good_enough() -> None:
    assert pick(study(trial(0, 0.6, 1.0), trial(1, 0.8, 9.0))) == 1


def test_pick_passes_over_one_that_did_not_repeat() -> None:
    front = [trial(0, 0.95, 1.0), trial(1, 0.95, 2.0)]
    again = {0: {"retention": 0.7}, 1: {"retention": 0.93}}
    assert pick(study(*front, remeasured=again)) == 1


def test_pick_takes_one_that_repeated_from_other_seeds_before_those_trained_once() -> None:
    front = [trial(0, 0.95, 1.0), trial(1, 0.95, 1.0, 3.0), trial(2, 0.95, 1.0, 2.0)]
    assert pick(study(*front)) == 0
    record = study(*front, finalists=(finalist(0, 0.8, False), finalist(1, 0.92, True)))
    assert pick(record) == 1
    lost = study(*front, finalists=(finalist(0, 0.8, False),))
    assert pick(lost) == 2  # trained once, but good enough


def test_knee_is_the_corner_of_a_bent_front_and_not_of_a_straight_one() -> None:
    bent = np.array([[0.0, 1.0], [0.1, 0.5], [0.2, 0.2], [0.5, 0.1], [1.0, 0.0]])
    assert knee(bent) == 2
    assert knee(bent[::-1]) == 2
    straight = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    assert knee(straight) == 0  # all alike: the first
    assert knee(np.array([[0.3, 0.4, 0.5]])) == 0


def test_knee_is_what_counting_every_pair_finds() -> None:
    points = np.random.default_rng(0).random((12, 3))
    worst = []
    for own in points:
        ratios = []
        for other in points:
            loss = sum(max(o - m, 0) for o, m in zip(other, own, strict=True))
            gain = sum(max(m - o, 0) for o, m in zip(other, own, strict=True))
            ratios.append(loss / gain if gain else float("inf"))
        worst.append(min(ratios))
    assert knee(points) == worst.index(max(worst))


def test_spread_covers_a_line_from_its_ends() -> None:
    points = np.linspace(0, 1, 9)[:, None]
    assert spread(points, [0])[:4] == [0, 8, 4, 2]
    assert sorted(spread(points, [3, 3])) == list(range(9))


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("best", 1),
        ("knee", 1),
        ("latency=3", 2),
        ("latency=100", 0),
        ("size=2,latency=5", 1),
        ("memory=4", 2),
        ("retention=0.8", 1),
        ("retention=0.7", 2),
        ("weights=quality:1", 0),
        ("weights=latency:1", 2),
        ("weights=quality:1,latency:1,size:1", 1),
    ],
)
def test_select_takes_the_member_that_was_asked_for(how: str, number: int) -> None:
    front = [trial(0, 1.0, 50.0, 5.0), trial(1, 0.92, 4.0, 1.5), trial(2, 0.75, 3.0, 1.4, 3.0)]
    found = select(study(*front), how)
    assert found.number == number
    assert len(found.rule) > 40


def test_weights_reach_a_member_in_a_dent_that_no_weighted_sum_takes() -> None:
    front = [trial(0, 1.0, 10.0), trial(1, 0.51, 6.0), trial(2, 0.4, 1.0)]
    taken = {select(study(*front), f"weights=quality:{w},latency:1").number for w in (0.5, 1, 2)}
    assert taken == {0, 1, 2}
    found = logs(study(*front), members(study(*front)))
    sums = {int((found @ [w, 1, 0]).argmin()) for w in np.geomspace(0.01, 100, 200)}
    assert sums == {0, 2}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("kne", "ways to pick: best, knee"),
        ("latncy=2", "did you mean 'latency'"),
        ("latency=fast", "latency 'fast' is no number above 0"),
        ("latency=-1", "'-1' is no number above 0"),
        ("weights=speed:1", "no 'speed'"),
        ("weights=", "ways to pick"),
    ],
)
def test_select_refuses_what_it_does_not_know(how: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        select(study(trial(0, 1.0, 1.0)), how)


def test_select_names_the_closest_where_nobody_is_within() -> None:
    front = [trial(0, 1.0, 50.0), trial(1, 0.9, 4.0)]
    with pytest.raises(NegativeVerdict, match=r"within latency 2; the closest, trial 1, has .* 4"):
        select(study(*front), "latency=2")
    with pytest.raises(NegativeVerdict, match="no front"):
        select(study(), "knee")


def test_overtaken_is_who_another_member_beats_by_the_latest_figures() -> None:
    front = [trial(0, 0.99, 3.0), trial(1, 0.95, 2.0), trial(2, 0.9, 1.0), trial(3, 0.9, 1.0)]
    assert overtaken(study(*front)) == () == overtaken(study())
    again = {0: {"gap": 10 / 0.93 - 1, "retention": 0.93, "latency_ms": 3.0}}
    assert overtaken(study(*front, remeasured=again)) == (0,)
    equal = {0: {"gap": 10 / 0.95 - 1, "retention": 0.95, "latency_ms": 2.0}}
    assert overtaken(study(*front, remeasured=equal)) == ()
    held = study(*front, remeasured=again, finalists=(finalist(0, 0.97, True),))
    assert overtaken(held) == (1, 2, 3)  # it takes 1 ms by now


def test_select_goes_by_the_latest_figures() -> None:
    front = [trial(0, 0.99, 1.0), trial(1, 0.95, 1.0)]
    assert select(study(*front), "latency=2").number == 0
    again = {0: {"gap": 9.0, "retention": 0.8, "latency_ms": 1.0}}
    assert select(study(*front, remeasured=again), "latency=2").number == 1
    found = study(*front, remeasured=again, finalists=(finalist(0, 0.97, True),))
    assert select(found, "latency=2").number == 0
