from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest

from accord.strategy import StrategyError, TensorSpec
from accord.testing import batch
from gateway.strategies.registry import build

if TYPE_CHECKING:
    from accord.strategy import Array
    from tests.unit.strategies.conftest import Merge, Prove, Seat

FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


def test_the_mean_counts_all_alike_whatever_they_weigh(merge: Merge) -> None:
    """(2 + 4 + 9) / 3 = 5, and weights change nothing."""
    state = batch({"y": [2.0]}, {"y": [4.0]}, {"y": [9.0]}, weights=[1, 50, 7])
    assert merge("mean", state)["y"].tolist() == [5.0]


def test_a_missing_member_leaves_the_mean_of_the_others(merge: Merge) -> None:
    """Row 0: (2 + 9) / 2 = 5.5; row 1: all three."""
    state = batch({"y": [2.0, 2.0]}, {"y": [4.0, 4.0]}, {"y": [9.0, 9.0]}, missing=[(1, 0)])
    assert merge("mean", state)["y"].tolist() == [5.5, 5.0]


def test_the_weighted_mean_weighs(merge: Merge) -> None:
    """(3*1 + 1*2) / 4 = 1.25; without the first member it is what the second says."""
    state = batch({"y": [1.0, 1.0]}, {"y": [2.0, 2.0]}, weights=[3, 1], missing=[(0, 1)])
    assert merge("weighted_mean", state)["y"].tolist() == [1.25, 2.0]


def test_where_only_weightless_members_answered_they_count_alike(merge: Merge) -> None:
    """The only one with weight is missing: the mean of 2 and 4."""
    state = batch({"y": [9.0]}, {"y": [2.0]}, {"y": [4.0]}, weights=[1, 0, 0], missing=[(0, 0)])
    assert merge("weighted_mean", state)["y"].tolist() == [3.0]
    rows = np.array([True])
    assert build("weighted_mean", {}).shares(state, rows).tolist() == [[0.0], [0.5], [0.5]]


def test_infinity_of_a_weightless_member_does_not_show(merge: Merge) -> None:
    """0 * inf would be NaN; a weight of zero equals absence."""
    state = batch({"y": [np.inf]}, {"y": [4.0]}, weights=[0, 1])
    assert merge("weighted_mean", state)["y"].tolist() == [4.0]


def test_the_geometric_mean_of_probabilities(merge: Merge) -> None:
    """sqrt(.9*.4) = .6 and sqrt(.1*.6) = .24495; together .84495, so normalised .71010 and .28990."""
    state = batch({"p": [[0.9, 0.1]]}, {"p": [[0.4, 0.6]]})
    assert merge("geometric_mean", state)["p"][0] == pytest.approx([0.6, 0.2449490], abs=1e-7)
    normalised = merge("geometric_mean", state, normalise=True)["p"][0]
    assert normalised == pytest.approx([0.7101021, 0.2898979], abs=1e-7)


def test_the_geometric_mean_weighs(merge: Merge) -> None:
    """(8^2 * 1)^(1/3) = 4."""
    state = batch({"y": [8.0]}, {"y": [1.0]}, weights=[2, 1])
    assert merge("geometric_mean", state)["y"] == pytest.approx([4.0])


def test_epsilon_takes_away_the_veto(merge: Merge) -> None:
    """With a zero the product is zero; clipped at .01 it is sqrt(.01 * .64) = .08."""
    state = batch({"y": [0.0]}, {"y": [0.64]})
    assert merge("geometric_mean", state)["y"].tolist() == [0.0]
    assert merge("geometric_mean", state, epsilon=0.01)["y"] == pytest.approx([0.08])


def test_classes_that_members_veto_together_stay_zero(merge: Merge) -> None:
    """Normalising nothing gives nothing, not NaN."""
    state = batch({"p": [[1.0, 0.0]]}, {"p": [[0.0, 1.0]]})
    assert merge("geometric_mean", state, normalise=True)["p"].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["mean", "weighted_mean", "geometric_mean"])
def test_unanimous_members_come_back_bit_for_bit(merge: Merge, kind: str, dtype: type) -> None:
    """Seven members with awkward weights that say the same, also at the ends of the range."""
    infinity, zero = np.array([np.inf, 0], dtype)
    largest, smallest = np.nextafter(infinity, zero), np.nextafter(zero, infinity)
    said: Array = np.array([0.1, 1 / 3, largest, smallest, 0.0], dtype)
    state = batch(*({"y": said} for _ in range(7)), weights=[0.1, 0.2, 0.3, 1, 3.7, 1e-9, 1e9])
    assert merge(kind, state)["y"].tobytes() == said.tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_weighted_mean_is_the_exact_one_rounded_once(merge: Merge, dtype: type) -> None:
    """Against rational arithmetic: within one unit in the last place of the dtype, for every element."""
    rng = np.random.default_rng(5)
    values: Array = rng.random((5, 200)).astype(dtype)
    weights = rng.random(5)
    got = merge("weighted_mean", batch(*({"y": row} for row in values), weights=weights))["y"]
    total = sum(Fraction(float(w)) for w in weights)
    for i in range(200):
        exact = sum(
            Fraction(float(w)) * Fraction(float(v)) for w, v in zip(weights, values[:, i], strict=True)
        )
        want = dtype(float(exact / total))
        assert got[i] == want or np.nextafter(got[i], want) == want


def test_bytes_do_not_depend_on_who_came_first(merge: Merge) -> None:
    """Sums run in seat order: the same answers give the same bytes, row by row and together."""
    rng = np.random.default_rng(6)
    state = batch(*({"y": rng.random((9, 4)).astype(np.float32)} for _ in range(6)), weights=rng.random(6))
    whole = merge("weighted_mean", state)["y"]
    for i in range(9):
        row = np.arange(9) == i
        assert merge("weighted_mean", state, row)["y"].tobytes() == whole[i].tobytes()


def test_every_output_is_merged_unless_one_is_named(merge: Merge, prove: Prove, seat: Seat) -> None:
    """`output` narrows what is read, proved and merged."""
    x, y = TensorSpec("x", "FP32", (-1,)), TensorSpec("y", "FP64", (-1, 2))
    state = batch({"x": [1.0], "y": [[1.0, 2.0]]})
    assert set(merge("mean", state)) == {"x", "y"}
    assert set(merge("mean", state, output="y")) == {"y"}
    assert prove("mean", seat("a", x, y)) == (x, y)
    assert prove("mean", seat("a", x, y), output="y") == (y,)
    assert build("mean", {"output": "y"}).reads(seat("a", x, y)) == {"y"}


def test_shapes_that_only_show_at_run_time_must_agree(merge: Merge) -> None:
    """Lengths 1 and 3 would broadcast silently; they are refused by name."""
    state = batch({"y": [[1.0]]}, {"y": [[1.0, 2.0, 3.0]]})
    with pytest.raises(
        StrategyError, match=r"'y' has shape \[1, 1\] at member 'm0' but \[1, 3\] at member 'm1'"
    ):
        merge("mean", state)


def test_normalising_needs_an_axis(prove: Prove, seat: Seat) -> None:
    """Of an output [-1] the last axis is the rows: normalising it would mix requests."""
    with pytest.raises(StrategyError, match="no axis to normalise"):
        prove("geometric_mean", seat("a", TensorSpec("y", "FP32", (-1,))), normalise=True)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_do_not_weigh_are_refused(prove: Prove, seat: Seat, weight: float) -> None:
    """Negative or not finite: the member is named. A mean without weights does not mind."""
    y = TensorSpec("y", "FP32", (-1,))
    seats = seat("a", y), seat("b", y, weight=weight)
    with pytest.raises(StrategyError, match="member 'b' has weight"):
        prove("weighted_mean", *seats)
    assert prove("mean", *seats) == (y,)


def test_all_weights_zero_are_refused(prove: Prove, seat: Seat) -> None:
    """Somebody must count."""
    with pytest.raises(StrategyError, match="every member has weight 0"):
        prove("weighted_mean", seat("a", TensorSpec("y", "FP32", (-1,)), weight=0.0))
