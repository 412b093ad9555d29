from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ado_nas.data import digits
from ado_nas.data.dataset import Source
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec


def _images(source: Source) -> np.ndarray:
    return source.rows(np.arange(source.count))


def test_digits_equal_sklearns_arrays_at_8_px() -> None:
    source = digits.read(DataSpec("digits", 8))
    bunch = load_digits()
    np.testing.assert_array_equal((_images(source)[..., 0] + 1) * 8, bunch.images)
    np.testing.assert_array_equal(source.labels, bunch.target)


@pytest.mark.parametrize("side", [16, 32])
def test_digits_keep_their_block_means_when_resized(side: int) -> None:
    small = _images(digits.read(DataSpec("digits", 8)))
    large = _images(digits.read(DataSpec("digits", side)))
    assert large.shape == (1797, side, side, 1) and large.dtype == np.float32
    assert large.min() >= -1 and large.max() <= 1
    factor = side // 8
    means = large.reshape(1797, 8, factor, 8, factor).mean((2, 4))
    assert np.corrcoef(means.ravel(), small.ravel())[0, 1] > 0.98


def test_digits_refuse_another_resolution() -> None:
    with pytest.raises(DataError, match="digits at 12 px: they come at 8, 16 and 32"):
        digits.read(DataSpec("digits", 12))


def test_digits_take_a_stratified_part_when_a_count_is_given() -> None:
    source = digits.read(DataSpec("digits", 8, count=200))
    assert source.labels is not None
    assert np.bincount(source.labels).min() >= 19 and len(_images(source)) == 200
