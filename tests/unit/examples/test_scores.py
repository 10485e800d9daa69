"""Claims: a win or loss is claimed only where the interval excludes zero."""

from __future__ import annotations

import numpy as np
import pytest

from examples.demo.direct import compare, soft_vote
from examples.demo.scores import compare_accuracy
from tests.unit.examples.studies import comparison


@pytest.mark.parametrize(
    ("right", "best_right", "claim"),
    [
        (80, 60, "digits is better than its best member best (+20.0 points"),
        (60, 80, "digits is worse than its best member best (-20.0 points"),
        (80, 79, "digits and its best member best cannot be told apart (+1.0 points"),
        (80, 80, "digits and its best member best cannot be told apart (+0.0 points"),
    ],
)
def test_the_claim_follows_the_interval(right: int, best_right: int, claim: str) -> None:
    """Better, worse, or not to be told apart; the figures stand beside the word."""
    assert comparison("digits", right, best_right).claim.startswith(claim)


def test_groups_decide_how_sure_a_claim_is() -> None:
    """Ten rows won in one document are one win: what rows alone would claim, documents do not."""
    truth, merged, member = np.ones(100), np.ones(100), np.ones(100)
    member[:10] = 0
    document = np.arange(100) // 10
    assert compare_accuracy("e", merged, {"m": member}, truth).gain.excludes_zero
    assert not compare_accuracy("e", merged, {"m": member}, truth, document).gain.excludes_zero


def test_the_soft_vote_is_the_mean_in_double_precision() -> None:
    """Summed in float64 and cast once: float32 sums would differ in the last bit."""
    members = np.random.default_rng(0).random((5, 200, 3)).astype(np.float32)
    want = (members.astype(np.float64).sum(axis=0) / 5).astype(np.float32)
    assert (soft_vote(list(members)) == want).all()
    assert (members.mean(axis=0) != want).any()


def test_outputs_within_rounding_match_and_others_do_not() -> None:
    """The last bits of a float may differ, a visible difference or any other label may not."""
    direct = np.full((4, 3), 0.25, np.float32)
    assert compare("p", np.nextafter(direct, 1), direct).equal
    assert not compare("p", direct + np.float32(1e-3), direct).equal
    labels = np.array([b"a", b"b", b"b", b"a"], object)
    assert compare("l", labels, labels.reshape(4, 1)).equal
    wrong = compare("l", labels, np.array([b"a", b"b", b"b", b"b"], object))
    assert (wrong.equal, wrong.max_difference) == (False, 0.25)
