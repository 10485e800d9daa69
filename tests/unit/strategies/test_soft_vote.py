from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest

from accord.strategy import StrategyError, TensorSpec
from accord.testing import batch
from gateway.strategies.registry import build

if TYPE_CHECKING:
    from tests.unit.strategies.conftest import Merge, Prove, Seat

GUIDE = [[0.2, 0.5, 0.3]], [[0.6, 0.3, 0.1]], [[0.3, 0.4, 0.3]]


def test_the_example_of_scikit_learns_guide(merge: Merge) -> None:
    """Its "weighted average probabilities": weights 1 give .37 .4 .23, so class 2 of three wins."""
    merged = merge("soft_vote", batch(*({"p": p} for p in GUIDE)))
    assert merged["p"][0] == pytest.approx([0.37, 0.4, 0.23], abs=0.005)
    assert merged["label"].tolist() == [1]


def test_a_heavy_member_carries_the_vote(merge: Merge) -> None:
    """Weights 1 2 1: (.2+1.2+.3)/4 = .425, (.5+.6+.4)/4 = .375, .2; the second member's class wins."""
    state = batch(*({"p": p} for p in GUIDE), weights=[1, 2, 1], labels={"p": ["x", "y", "z"]})
    merged = merge("soft_vote", state)
    assert merged["p"][0] == pytest.approx([0.425, 0.375, 0.2])
    assert merged["label"].tolist() == [b"x"]
    agreement = build("soft_vote", {}).agreement(state, np.array([True]), merged)
    assert agreement == pytest.approx([0.5])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_the_label_is_the_argmax_of_the_probabilities_beside_it(merge: Merge, dtype: type) -> None:
    """In every precision, also where rounding made two classes equal."""
    rng = np.random.default_rng(3)
    state = batch(
        *({"p": rng.dirichlet(np.ones(8), 500).astype(dtype)} for _ in range(4)), weights=rng.random(4)
    )
    merged = merge("soft_vote", state)
    assert merged["p"].dtype == dtype
    assert merged["label"].tolist() == [row.tolist().index(max(row.tolist())) for row in merged["p"]]


def test_every_pixel_has_a_label(merge: Merge, prove: Prove, seat: Seat) -> None:
    """The class axis is the last; the label has the shape without it, and agreement is per row."""
    masks = np.random.default_rng(4).dirichlet(np.ones(3), (2, 5, 4, 4))
    state = batch({"mask": masks[0]}, {"mask": masks[1]})
    merged = merge("soft_vote", state)
    assert merged["label"].shape == (5, 4, 4)
    rows = np.ones(5, np.bool_)
    agreement = build("soft_vote", {}).agreement(state, rows, merged)
    want = np.stack([m.argmax(-1) == merged["label"] for m in masks]).mean(axis=(0, 2, 3))
    assert agreement == pytest.approx(want)
    spec = TensorSpec("mask", "FP64", (-1, 4, 4, 3))
    assert prove("soft_vote", seat("a", spec)) == (spec, TensorSpec("label", "INT64", (-1, 4, 4)))


def test_the_one_output_with_a_class_axis_is_found(merge: Merge, prove: Prove, seat: Seat) -> None:
    """A member's own label and a score per row are passed over; two candidates are not."""
    p, score = TensorSpec("p", "FP32", (-1, 2), ("n", "y")), TensorSpec("score", "FP32", (-1,))
    label = TensorSpec("label", "INT64", (-1, 1))
    assert prove("soft_vote", seat("a", label, score, p)) == (
        p,
        TensorSpec("label", "BYTES", (-1,), ("n", "y")),
    )
    merged = merge("soft_vote", batch({"label": [[7]], "score": [0.5], "p": [[0.4, 0.6]]}))
    assert set(merged) == {"p", "label"}
    assert merged["label"].tolist() == [1]
    with pytest.raises(StrategyError, match=r"member 'a' has 2 float outputs .*\(p, q\); name"):
        prove("soft_vote", seat("a", p, TensorSpec("q", "FP32", (-1, 2))))
    with pytest.raises(StrategyError, match=r"member 'a' has 0 float outputs"):
        prove("soft_vote", seat("a", score))


def test_members_must_agree_on_the_classes(prove: Prove, seat: Seat) -> None:
    """Three classes and four cannot be averaged."""
    three, four = (TensorSpec("p", "FP32", (-1, n)) for n in (3, 4))
    with pytest.raises(StrategyError, match=r"\[-1, 3\] at member 'a' but \[-1, 4\] at member 'b'"):
        prove("soft_vote", seat("a", three), seat("b", four))


def test_what_has_no_class_axis_is_refused(prove: Prove, seat: Seat) -> None:
    """Also when it is named."""
    with pytest.raises(StrategyError, match=r"'score' has shape \[-1\]; soft_vote needs a class axis"):
        prove("soft_vote", seat("a", TensorSpec("score", "FP32", (-1,))), output="score")


def test_the_label_can_be_renamed_and_must_be_where_names_clash(prove: Prove, seat: Seat) -> None:
    """An ensemble cannot have two outputs of one name."""
    spec = TensorSpec("label", "FP32", (-1, 2))
    with pytest.raises(StrategyError, match="would share a name"):
        prove("soft_vote", seat("a", spec))
    assert [s.name for s in prove("soft_vote", seat("a", spec), label="verdict")] == ["label", "verdict"]
