from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ado_nas.data import Split
from ado_nas.data.dataset import split_indices
from ado_nas.errors import DataError


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 200), st.floats(0.05, 0.95), st.integers(0, 5), st.integers(0, 4))
def test_split_is_disjoint_whole_and_stratified(
    count: int, share: float, classes: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, count) if classes else None
    chosen = None if labels is None else labels.astype(np.int32)
    train, held = split_indices(count, chosen, share, seed)
    assert len(train) and len(held)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(count))
    if labels is not None:
        for k in range(classes):
            of_class = (labels == k).sum()
            assert abs((labels[held] == k).sum() - of_class * len(held) / count) <= 1


def test_split_repeats_for_one_seed_and_differs_for_another() -> None:
    first, again, other = (split_indices(50, None, 0.4, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_lone_image_is_trained_on() -> None:
    train, held = split_indices(1, None, 0.4, 0)
    assert len(train) == 1 and len(held) == 0


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_split_refuses_a_share_that_leaves_one_side_empty(share: float) -> None:
    with pytest.raises(DataError, match="held_out"):
        split_indices(10, None, share, 0)


def test_halves_are_disjoint_with_equal_classes() -> None:
    labels = np.repeat([0, 1, 2], [20, 30, 50]).astype(np.int32)
    images = np.arange(100, dtype=np.float32).reshape(100, 1, 1, 1)
    first, second = Split(images, labels).halves()
    assert not set(first.images.ravel()) & set(second.images.ravel())
    assert first.labels is not None and second.labels is not None
    np.testing.assert_array_equal(np.bincount(first.labels), [10, 15, 25])
    np.testing.assert_array_equal(np.bincount(second.labels), [10, 15, 25])
