from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest

from accord.strategy import StrategyError, TensorSpec
from accord.testing import batch

if TYPE_CHECKING:
    from accord.strategy import Array
    from tests.unit.strategies.conftest import Merge, Prove, Seat

FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


def test_the_median_is_the_middle_or_the_mean_of_the_middle_two(merge: Merge) -> None:
    """Row 0: 1 2 9 -> 2; row 1, where one is missing: 2 9 -> 5.5."""
    state = batch({"y": [9.0, 9.0]}, {"y": [1.0, 1.0]}, {"y": [2.0, 2.0]}, missing=[(1, 1)])
    assert merge("median", state)["y"].tolist() == [2.0, 5.5]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_the_median_agrees_with_numpy(merge: Merge, dtype: type, k: int) -> None:
    """For any number of members and any precision, on values that FP64 adds exactly."""
    values: Array = np.random.default_rng(k).random((k, 7, 3)).astype(dtype)
    want: Array = np.median(values.astype(np.float64), axis=0).astype(dtype)
    assert merge("median", batch(*({"y": v} for v in values)))["y"].tobytes() == want.tobytes()


def test_an_odd_median_is_a_members_own_value(merge: Merge) -> None:
    """It is not rounded on the way: neighbours of 1e300 stay apart."""
    values = [1e300, float(np.nextafter(1e300, 2e300)), 1e-300]
    assert merge("median", batch(*({"y": [v]} for v in values)))["y"].tolist() == [1e300]


def test_the_trimmed_mean_of_scipys_example(merge: Merge) -> None:
    """``scipy.stats.trim_mean``: of 0..19 a tenth at each end leaves 9.5; of 5 rows, a quarter leaves 3."""
    state = batch(*({"y": [float(i)]} for i in range(20)))
    assert merge("trimmed_mean", state, trim=0.1)["y"].tolist() == [9.5]
    table = np.arange(20.0).reshape(5, 1, 4)
    state = batch(*({"y": row} for row in table))
    assert merge("trimmed_mean", state, trim=0.25)["y"].tolist() == [[8.0, 9.0, 10.0, 11.0]]


@pytest.mark.parametrize(
    ("answers", "trim", "cut"),
    [
        (5, 0.2, 1),
        (4, 0.2, 0),
        (9, 0.2, 1),
        (10, 0.2, 2),
        (100, 0.29, 29),
        (2, 0.4999999999, 0),
        (3, 0.49, 1),
    ],
)
def test_the_cut_is_rounded_down_and_leaves_somebody(
    merge: Merge, answers: int, trim: float, cut: int
) -> None:
    """floor(trim * m) at each end; 0.29 * 100 is 29 although floats say 28.999...; one always stays."""
    low, high = [-1e6] * cut, [1e6 + i for i in range(answers - cut)]
    values = low + high
    state = batch(*({"y": [v]} for v in values))
    kept = values[cut : answers - cut]
    assert merge("trimmed_mean", state, trim=trim)["y"].tolist() == [sum(kept) / len(kept)]


def test_who_is_missing_is_not_trimmed_instead(merge: Merge) -> None:
    """Of five, one answered nothing for row 0: floor(.2 * 4) = 0 are cut there, one at each end of row 1."""
    values = [1.0, 2.0, 3.0, 4.0, 100.0]
    state = batch(*({"y": [v, v]} for v in values), missing=[(0, 0)])
    assert merge("trimmed_mean", state)["y"].tolist() == [109 / 4, 3.0]


def test_maximum_and_minimum_keep_the_datatype(merge: Merge) -> None:
    """The largest UINT64 survives, which no float could carry; for BOOL they are any and all."""
    big = np.array([2**64 - 1], np.uint64)
    state = batch({"y": big, "b": [True]}, {"y": big - np.uint64(1), "b": [False]})
    top, bottom = merge("max", state), merge("min", state)
    assert top["y"].dtype == np.uint64
    assert (top["y"].tolist(), top["b"].tolist()) == ([2**64 - 1], [True])
    assert (bottom["y"].tolist(), bottom["b"].tolist()) == ([2**64 - 2], [False])


def test_extremes_ignore_who_is_missing(merge: Merge) -> None:
    """A missing member's undefined values never win."""
    state = batch({"y": [5, 5]}, {"y": [7, 7]}, {"y": [1, 1]}, missing=[(1, 0), (0, 1), (2, 1)])
    assert merge("max", state)["y"].tolist() == [5, 7]
    assert merge("min", state)["y"].tolist() == [1, 7]


@pytest.mark.parametrize("kind", ["mean", "median", "trimmed_mean", "geometric_mean"])
def test_means_of_integers_are_refused(prove: Prove, seat: Seat, kind: str) -> None:
    """The middle of 1 and 2 is no integer; the message says what would be taken."""
    with pytest.raises(
        StrategyError, match="'y' of member 'a' is INT32; this merge takes FP16, BF16, FP32, FP64"
    ):
        prove(kind, seat("a", TensorSpec("y", "INT32", (-1,))))


def test_words_have_no_maximum(prove: Prove, seat: Seat) -> None:
    """BYTES are refused where numbers are merged."""
    with pytest.raises(StrategyError, match="BYTES"):
        prove("max", seat("a", TensorSpec("y", "BYTES", (-1,))))
