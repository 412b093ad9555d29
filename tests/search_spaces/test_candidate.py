from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.solvers import SOLVER
from ado_nas.errors import SpecError
from ado_nas.specs import (
    MULTISTEP_SOLVERS,
    Candidate,
    DistillationSpec,
    UNetSpec,
    digest,
    from_dict,
    to_dict,
)
from ado_nas.widths import settled, shares
from search_spaces.candidate import build, combinations, count, draw, params_of
from search_spaces.chooser import RandomChooser
from search_spaces.distillation import order
from search_spaces.space import Space

BASE = UNetSpec(resolution=16, num_classes=10)
LEARN = DistillationSpec()
WIDE = Space(
    widths=("8-16", "12-20", "16-32-64", "24"),
    blocks=("1", "1-2", "2-1-1"),
    attention=("none", "low", "all"),
    patch=(4, 1, 2),
)


EVERYTHING = dataclasses.replace(
    WIDE,
    attention=("none", "low", "all", "low:linear", "all:linear", "low:window", "all:window"),
    head_dim=(4, 8, 16),
    conv=("full", "separable"),
    norm=("group", "rms"),
    activation=("relu", "hardswish", "silu", "gelu"),
    resample=("conv-conv", "pool-nearest", "fold-fold", "conv-nearest"),
    middle=(False, True),
    skip=("concat", "add"),
    solver=("dpmpp_2m", "ddim", "ipndm_3", "ipndm_2"),
    time_width=(0, 32),
    curriculum=("1-1-2", "1", "1-3", "crops:2-3-5"),
    step_widths=("wide-last", "even", "wide-first"),
    adaptation=("none", "prune", "grow"),
    feature_weight=(0.0, 0.3, 1.0),
)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([8, 16, 24, 32]))
def test_draw_is_valid_and_has_a_way_back(seed: int, resolution: int) -> None:
    base = UNetSpec(resolution=resolution, in_channels=3, num_classes=4)
    drawn = draw(EVERYTHING, RandomChooser(seed), base, LEARN)
    assert drawn.unet == drawn.unet.canonical
    assert build(EVERYTHING, params_of(drawn, EVERYTHING), base, LEARN) == drawn
    assert (drawn.unet.resolution, drawn.unet.in_channels, drawn.unet.num_classes) == (
        resolution, 3, 4,
    )  # fmt: skip
    assert drawn.distillation.steps == drawn.sampler.nfe


def params(**changes: object) -> dict[str, object]:
    chosen: dict[str, object] = {
        "widths": "16-32-64",
        "blocks": "1",
        "attention": "none",
        "activation": "relu",
        "patch": 1,
        "steps": 2,
        "schedule": "dp",
    }
    return {**chosen, **changes}


REST = {
    "head_dim": 16, "conv": "full", "norm": "group", "resample": "conv-conv", "middle": False,
    "skip": "concat", "time_width": 0, "step_widths": "even", "solver": "ddim",
    "curriculum": "1",
    "adaptation": "none", "feature_weight": 0.0,
}  # fmt: skip


def hash_of(space: Space = WIDE, **changes: object) -> str:
    return build(space, params(**changes), BASE, LEARN).hash  # type: ignore[arg-type]


def test_equal_networks_hash_equal_when_their_choices_differ() -> None:
    # One level attends at its coarsest, which is all; a short block pattern repeats its last.
    assert hash_of(widths="24", attention="low") == hash_of(widths="24", attention="all")
    assert hash_of(widths="24", blocks="1") == hash_of(widths="24", blocks="1-2")
    assert hash_of(steps=1, schedule="dp") == hash_of(steps=1, schedule="karras")


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_solvers_are_alike_where_they_take_the_same_steps(steps: int) -> None:
    levels = karras_levels(steps, 0.1, 10.0)
    start = mx.random.normal((4, 1, 1, 1), key=mx.random.key(steps))

    def denoise(x: mx.array, sigma: mx.array) -> mx.array:
        return mx.tanh(x / (1 + sigma)) + 0.1 * mx.sin(sigma)

    def end(solver: str) -> np.ndarray:
        return np.array(list(SOLVER[solver](denoise, 10 * start, levels))[-1][0])

    for one, other in itertools.combinations(MULTISTEP_SOLVERS, 2):
        alike = np.allclose(end(one), end(other), rtol=1e-5, atol=1e-5)
        assert alike == (order(one, steps) == order(other, steps)), (one, other)


def test_solvers_of_the_same_steps_are_one_candidate() -> None:
    space = dataclasses.replace(WIDE, solver=("ddim", "dpmpp_2m", "ipndm_2"))
    solvers = {
        steps: [hash_of(space, steps=steps, solver=name) for name in space.solver]
        for steps in (1, 2, 3)
    }
    assert [len(set(found)) for found in solvers.values()] == [1, 2, 3]
    assert solvers[2][0] == solvers[2][1]


def test_curriculum_follows_its_pattern_as_far_as_the_network_can() -> None:
    space = dataclasses.replace(WIDE, curriculum=("1", "1-1-2", "crops:2-3-5"))

    def drawn(pattern: str, **changes: object) -> Candidate:
        chosen = {**REST, **params(widths="24", patch=2, curriculum=pattern, **changes)}
        return build(space, chosen, BASE, LEARN)  # type: ignore[arg-type]

    halved = drawn("1-1-2")
    assert halved.curriculum.resolutions == (4, 8, 16)
    assert halved.curriculum.shares == (0.25, 0.25, 0.5)
    assert halved.unet.sized and not halved.unet.placed
    crops = drawn("crops:2-3-5")
    assert crops.curriculum.crops and crops.unet.placed and not crops.unet.sized
    assert not drawn("1").curriculum and len({halved.hash, crops.hash, drawn("1").hash}) == 3
    # Three levels of two pixels leave a network nothing below 8.
    few = build(space, {**REST, **params(patch=2, curriculum="1-1-2")}, BASE, LEARN)  # type: ignore[arg-type]
    assert few.curriculum.resolutions == (8, 16) and few.curriculum.shares == (0.5, 0.5)
    assert from_dict(Candidate, to_dict(halved)) == halved


def test_students_are_nested_as_far_as_their_teacher_is() -> None:
    space = dataclasses.replace(WIDE, curriculum=("1", "1-1-2", "crops:2-3-5"))
    base = dataclasses.replace(BASE, nested=1)

    def drawn(pattern: str, **changes: object) -> Candidate:
        chosen = {**REST, **params(curriculum=pattern, **changes)}
        return build(space, chosen, base, LEARN)  # type: ignore[arg-type]

    assert drawn("1").unet.nested == 1 and drawn("1", widths="24").unet.nested == 0
    # The network inside has 8 px, and nothing is below it; crops are none of its business.
    halved = drawn("1-1-2")
    assert halved.curriculum.resolutions == (8, 16) and halved.curriculum.shares == (0.5, 0.5)
    assert not halved.unet.sized and not drawn("crops:2-3-5").curriculum
    assert params_of(halved, space)["curriculum"] == "1-1-2"


def test_attention_is_placed_by_the_tokens_of_each_level() -> None:
    space = dataclasses.replace(WIDE, attention=("none", "64tokens", "256tokens:linear"))

    def placed(attention: str, patch: int) -> tuple[str, ...]:
        chosen = {**REST, **params(attention=attention, patch=patch)}
        return build(space, chosen, BASE, LEARN).unet.attention  # type: ignore[arg-type]

    assert placed("64tokens", 1) == ("none", "full", "full")  # of 256, 64 and 16 tokens
    assert placed("64tokens", 2) == ("full", "full", "full")
    assert placed("256tokens:linear", 1) == ("linear", "linear", "linear")


def test_adaptation_tells_candidates_apart_where_there_is_room_to_change() -> None:
    space = dataclasses.replace(WIDE, adaptation=("none", "prune", "grow"))
    base = dataclasses.replace(BASE, widths=(8, 32), blocks=(1, 1))

    def hashed(widths: str, adaptation: str) -> str:
        chosen = params(widths=widths, adaptation=adaptation)
        return build(space, chosen, base, LEARN).hash  # type: ignore[arg-type]

    kinds = ("none", "prune", "grow")
    assert len({hashed("12-20", kind) for kind in kinds}) == 3
    # A teacher that is no wider lends nothing to cut, so pruning is plain training.
    assert hashed("24", "prune") == hashed("24", "none") != hashed("24", "grow")


def test_feature_weight_counts_where_maps_can_be_matched() -> None:
    choices = {"step_widths": ("even", "wide-last"), "adaptation": ("none", "prune")}
    space = dataclasses.replace(WIDE, feature_weight=(0.0, 0.3), **choices)  # type: ignore[arg-type]

    def drawn(weight: float, **changes: object) -> Candidate:
        chosen = {**REST, **params(feature_weight=weight, **changes)}
        return build(space, chosen, BASE, LEARN)  # type: ignore[arg-type]

    matched = drawn(0.3)
    assert matched.distillation.feature_weight == 0.3 and matched.hash != drawn(0.0).hash
    assert from_dict(Candidate, to_dict(matched)) == matched
    for change in ({"step_widths": "wide-last"}, {"adaptation": "prune", "widths": "12-20"}):
        assert drawn(0.3, **change) == drawn(0.0, **change)
    # The base has maps of 16 and 8 pixels, this one of 4.
    assert drawn(0.3, widths="24", patch=4) == drawn(0.0, widths="24", patch=4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"feature_weight": -0.1}, "feature_weight -0.1: give a number, 0 or more"),
        ({"feature_weight": float("nan")}, "feature_weight nan: give a number"),
        ({"feature_weight": float("inf")}, "feature_weight inf: give a number"),
        ({"feature_weight": 0.3, "adaptation": "grow"}, "with adaptation 'grow'"),
    ],
)
def test_feature_weight_is_refused_when_it_cannot_be(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        DistillationSpec(**fields)


def test_feature_weight_is_refused_with_step_widths() -> None:
    learn = DistillationSpec(feature_weight=0.3)
    with pytest.raises(SpecError, match=r"feature_weight 0.3 with step_widths \(0.5, 1.0\)"):
        Candidate(distillation=learn, step_widths=(0.5, 1.0))


def stepped(pattern: str, **changes: object) -> Candidate:
    space = dataclasses.replace(WIDE, step_widths=("even", "wide-first", "wide-last"))
    chosen = params(step_widths=pattern, **changes)
    return build(space, chosen, BASE, LEARN)  # type: ignore[arg-type]


def test_step_widths_say_how_wide_each_step_is() -> None:
    assert stepped("wide-first", steps=3).step_widths == (1.0, 0.5, 0.5)
    assert stepped("wide-last", steps=3).step_widths == (0.5, 0.5, 1.0)
    hashes = {stepped(p, steps=2).hash for p in ("even", "wide-first", "wide-last")}
    assert len(hashes) == 3


def test_step_widths_that_change_nothing_hash_like_even() -> None:
    for pattern in ("wide-first", "wide-last"):
        assert stepped(pattern, steps=1) == stepped("even", steps=1)
        unet = dataclasses.replace(BASE, widths=(4, 4), attention=("none", "none"))
        assert settled(unet, shares(pattern, 2)) == ()
    assert stepped("even").hash == hash_of()


def test_choices_that_are_not_made_leave_hashes_as_they_were() -> None:
    candidate = stepped("even")
    known = {k: v for k, v in to_dict(candidate).items() if k != "step_widths"}
    del known["distillation"]["adaptation"], known["distillation"]["feature_weight"]
    for name in ("sized", "placed", "nested", "hinted"):
        del known["unet"][name]
    for name in ("replay", "rewarm", "batch_growth", "crops"):
        del known["curriculum"][name]
    assert candidate.hash == digest(known)
    assert from_dict(Candidate, known) == candidate
    narrow = stepped("wide-last")
    assert from_dict(Candidate, to_dict(narrow)) == narrow


@pytest.mark.parametrize(
    ("given", "said"),
    [((1.0,), "one share for each of 2 steps"), ((1.0, 0.0), "above 0"), ((0.5, 0.5), "whole")],
)
def test_step_widths_are_refused_when_they_cannot_be(given: tuple[float, ...], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Candidate(step_widths=given)


def test_window_attention_over_a_small_map_is_full_attention() -> None:
    base = UNetSpec(resolution=8, num_classes=10)
    choices = params(widths="16-32-64", attention="all:window")
    unet = build(EVERYTHING, {**REST, **choices}, base, LEARN).unet  # type: ignore[dict-item]
    assert unet.attention == ("window", "full", "full")


def test_head_dim_does_not_tell_networks_apart_when_nothing_attends() -> None:
    small = Space(**{**vars(WIDE), "head_dim": (8,)})
    assert hash_of(attention="none") == hash_of(small, attention="none")
    assert hash_of(attention="low") != hash_of(small, attention="low")


def test_head_dim_divides_every_attended_width() -> None:
    unet = build(WIDE, params(widths="12-20", attention="all"), BASE, LEARN).unet  # type: ignore[arg-type]
    assert unet.head_dim == 4


def test_groups_divide_every_width_when_the_teachers_do_not() -> None:
    base = UNetSpec(groups=8, widths=(32, 64))
    assert build(WIDE, params(widths="12-20"), base, LEARN).unet.groups == 4  # type: ignore[arg-type]


def test_patch_is_the_largest_that_fits_when_the_drawn_one_does_not() -> None:
    base = UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",))
    chosen = params(widths="16-32-64", patch=4)
    assert build(WIDE, chosen, base, LEARN).unet.patch == 2  # type: ignore[arg-type]


def test_draw_names_a_resolution_when_nothing_fits() -> None:
    space = Space(widths=("8-16-32",), blocks=("1",), patch=(2,))
    base = UNetSpec(resolution=12, widths=(8,), blocks=(1,), attention=("none",))
    with pytest.raises(SpecError, match=r"resolution 12 .* use a multiple of 8"):
        draw(space, RandomChooser(0), base, LEARN)


def test_count_agrees_with_brute_force() -> None:
    every = list(combinations(WIDE))
    assert len(every) == 4 * 3 * 3 * 2 * 3 * 4 * 2
    distinct = {build(WIDE, p, BASE, LEARN).hash for p in every}
    assert count(WIDE, BASE, LEARN) == (len(distinct), True)
    assert len(distinct) < len(every)


def test_params_of_says_so_when_the_space_lacks_the_network() -> None:
    drawn = build(WIDE, params(), BASE, LEARN)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="no widths"):
        params_of(drawn, Space())
