from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from accord.strategy import StrategyError, TensorSpec
from accord.testing import batch
from gateway.strategies.registry import build

if TYPE_CHECKING:
    from tests.unit.strategies.conftest import Merge, Prove, Seat

ROW = np.array([True])


def test_the_majority_wins(merge: Merge) -> None:
    """scikit-learn's user guide: classes 1, 1, 2 -> class 1."""
    state = batch({"y": [1]}, {"y": [1]}, {"y": [2]})
    assert merge("vote", state)["label"].tolist() == [1]


def test_a_tie_goes_to_the_lowest_class(merge: Merge) -> None:
    """scikit-learn's user guide: classes 2, 1 -> class 1, whoever came first."""
    assert merge("vote", batch({"y": [2]}, {"y": [1]}))["label"].tolist() == [1]
    assert merge("vote", batch({"y": [1]}, {"y": [2]}))["label"].tolist() == [1]


def test_weights_are_votes(merge: Merge) -> None:
    """One member of weight 3 outvotes two of weight 1."""
    state = batch({"y": [1]}, {"y": [1]}, {"y": [2]}, weights=[1, 1, 3])
    assert merge("vote", state)["label"].tolist() == [2]
    assert build("vote", {}).agreement(state, ROW, merge("vote", state)) == pytest.approx([3 / 5])


@pytest.mark.parametrize("weights", [(0.1, 0.2, 0.3), (0.3, 0.6, 0.9), (1e-9, 2e-9, 3e-9)])
def test_rounding_does_not_break_a_tie(merge: Merge, weights: tuple[float, ...]) -> None:
    """0.1 + 0.2 exceeds 0.3 only in floating point: class 1, backed by 0.3, is the lowest of a tie."""
    state = batch({"y": [2]}, {"y": [2]}, {"y": [1]}, weights=weights)
    assert merge("vote", state)["label"].tolist() == [1]


def test_a_real_difference_is_no_tie(merge: Merge) -> None:
    """A millionth more weight wins."""
    state = batch({"y": [2]}, {"y": [1]}, weights=[1.000001, 1])
    assert merge("vote", state)["label"].tolist() == [2]


def test_scores_vote_by_their_argmax(merge: Merge, prove: Prove, seat: Seat) -> None:
    """Names come back where they are known, else indices; equal scores count for the lowest class."""
    scores = [[0.4, 0.4, 0.2]], [[0.1, 0.8, 0.1]], [[0.3, 0.6, 0.1]]
    state = batch(*({"p": s} for s in scores))
    assert merge("vote", state)["label"].tolist() == [1]
    named = batch(*({"p": s} for s in scores), labels={"p": ["a", "b", "c"]})
    assert merge("vote", named)["label"].tolist() == [b"b"]
    p = TensorSpec("p", "FP32", (-1, 3))
    assert prove("vote", seat("a", p)) == (TensorSpec("label", "INT64", (-1,)),)
    classes = ("a", "b", "c")
    with_names = TensorSpec("p", "FP32", (-1, 3), classes)
    assert prove("vote", seat("a", with_names)) == (TensorSpec("label", "BYTES", (-1,), classes),)


def test_words_tie_in_label_order_or_else_in_byte_order(merge: Merge) -> None:
    """Where the labels say so, "zebra" comes first; a word that is no label comes after all that are."""
    answers = {"y": [b"zebra", b"zebra"]}, {"y": [b"ant", b"aardvark"]}
    assert merge("vote", batch(*answers))["label"].tolist() == [b"ant", b"aardvark"]
    named = batch(*answers, labels={"y": ["zebra", "ant"]})
    assert merge("vote", named)["label"].tolist() == [b"zebra", b"zebra"]


def test_labels_may_stand_in_a_column(merge: Merge, prove: Prove, seat: Seat) -> None:
    """[-1, 1] votes like [-1] and yields [-1] of its own datatype."""
    state = batch({"y": np.array([[3], [4]], np.uint8)}, {"y": np.array([[3], [5]], np.uint8)})
    merged = merge("vote", state)["label"]
    assert merged.dtype == np.uint8
    assert merged.tolist() == [3, 4]
    spec = TensorSpec("y", "UINT8", (-1, 1))
    assert prove("vote", seat("a", spec)) == (TensorSpec("label", "UINT8", (-1,)),)


def test_it_agrees_with_counting_by_hand(merge: Merge) -> None:
    """200 rows of 6 voters with whole weights and missing votes, against a Counter."""
    rng = np.random.default_rng(2)
    votes, weights = rng.integers(-3, 3, (6, 200)), rng.integers(1, 4, 6)
    gone = rng.random((6, 200)) < 0.3
    gone[0] = False
    missing = [(int(i), int(j)) for i, j in np.argwhere(gone)]
    state = batch(*({"y": v} for v in votes), weights=weights.astype(float), missing=missing)
    got = merge("vote", state)["label"]
    for j in range(200):
        count: Counter[int] = Counter()
        for i in range(6):
            if not gone[i, j]:
                count[int(votes[i, j])] += int(weights[i])
        assert got[j] == min(label for label, n in count.items() if n == max(count.values()))


def test_agreement_counts_who_answered(merge: Merge) -> None:
    """Weights 1 and 2 for the winner, 3 missing: all that was said agrees; with it, half."""
    state = batch({"y": [1, 1]}, {"y": [1, 1]}, {"y": [2, 2]}, weights=[1, 2, 3], missing=[(2, 0)])
    rows = np.array([True, True])
    assert build("vote", {}).agreement(state, rows, merge("vote", state)) == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (TensorSpec("y", "FP32", (-1,)), r"'y' is FP32 \[-1\] and no ballot"),
        (TensorSpec("y", "FP32", (-1, 2, 2)), r"'y' is FP32 \[-1, 2, 2\] and no ballot"),
        (TensorSpec("y", "INT64", (-1, 4)), r"'y' is INT64 \[-1, 4\] and no ballot"),
        (TensorSpec("y", "FP32", (-1, 4), ("a", "b")), "has 4 classes, but 2 labels"),
    ],
)
def test_what_is_no_ballot_is_refused(prove: Prove, seat: Seat, spec: TensorSpec, said: str) -> None:
    """One label per row or scores per class; the message shows what it is instead."""
    with pytest.raises(StrategyError, match=said):
        prove("vote", seat("a", spec))


def test_several_outputs_need_a_name(prove: Prove, seat: Seat) -> None:
    """It does not guess which of two outputs votes."""
    y, z = TensorSpec("y", "INT64", (-1,)), TensorSpec("z", "INT64", (-1,))
    a = seat("a", y, z)
    for seats in ((a,), (seat("b", z), a)):
        with pytest.raises(StrategyError, match="member 'a' has the outputs y, z; name the one"):
            prove("vote", *seats)
    assert prove("vote", a, output="z", label="verdict") == (TensorSpec("verdict", "INT64", (-1,)),)
