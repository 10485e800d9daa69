from __future__ import annotations

from collections import defaultdict
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from accord.strategy import StrategyError, TensorSpec
from accord.testing import batch

if TYPE_CHECKING:
    from tests.unit.strategies.conftest import Merge, Prove, Seat


def test_reciprocal_ranks_by_hand(merge: Merge) -> None:
    """With k = 1, rankings 4 3 2 1 and 3 2 1 5 give 3: 1/3 + 1/2, 2: 1/4 + 1/3, 4: 1/2, 1: 1/5 + 1/4."""
    state = batch({"ids": [[4, 3, 2, 1]]}, {"ids": [[3, 2, 1, 5]]})
    merged = merge("rank_fusion", state, k=1, top=5)
    assert merged["ids"].tolist() == [[3, 2, 4, 1, 5]]
    assert merged["scores"][0] == pytest.approx([5 / 6, 7 / 12, 1 / 2, 9 / 20, 1 / 5])
    assert merged["scores"].dtype == np.float32


def test_the_constant_is_sixty_by_default(merge: Merge) -> None:
    """Cormack, Clarke and Buettcher fixed it at 60: first places count 1/61 each."""
    merged = merge("rank_fusion", batch({"ids": [[8]]}, {"ids": [[8]]}), top=1)
    assert merged["scores"][0] == pytest.approx([2 / 61])


def test_the_borda_count_of_tennessee(merge: Merge) -> None:
    """The textbook election of four cities and 100 voters; n..1 points, so 100 above the n-1..0 ones."""
    ballots = (
        [[b"Memphis", b"Nashville", b"Chattanooga", b"Knoxville"]] * 42
        + [[b"Nashville", b"Chattanooga", b"Knoxville", b"Memphis"]] * 26
        + [[b"Chattanooga", b"Knoxville", b"Nashville", b"Memphis"]] * 15
        + [[b"Knoxville", b"Chattanooga", b"Nashville", b"Memphis"]] * 17
    )
    merged = merge("rank_fusion", batch(*({"ids": [b]} for b in ballots)), method="borda", top=4)
    assert merged["ids"].tolist() == [[b"Nashville", b"Chattanooga", b"Memphis", b"Knoxville"]]
    assert merged["scores"].tolist() == [[294.0, 273.0, 226.0, 207.0]]


def test_left_out_items_share_the_points_that_are_left(merge: Merge) -> None:
    """Three items. Ranking 1 2 3 gives 3 2 1; ranking 3 alone gives 3, and 1 and 2 share 2 + 1."""
    state = batch({"ids": [[1, 2, 3]]}, {"ids": [[3, -1, -1]]})
    merged = merge("rank_fusion", state, method="borda", top=3)
    assert merged["ids"].tolist() == [[1, 3, 2]]
    assert merged["scores"].tolist() == [[4.5, 4.0, 3.5]]


def test_scores_are_ranked_first(merge: Merge, prove: Prove, seat: Seat) -> None:
    """From the highest, ties by lowest index; ids are indices, or class names where they are known."""
    answers = {"s": [[0.1, 0.9, 0.9]]}, {"s": [[5.0, 7.0, -1.0]]}
    merged = merge("rank_fusion", batch(*answers), top=3, k=1)
    assert merged["ids"].tolist() == [[1, 0, 2]]
    assert merged["scores"][0] == pytest.approx([1.0, 1 / 4 + 1 / 3, 1 / 3 + 1 / 4])
    named = batch(*answers, labels={"s": ["a", "b", "c"]})
    assert merge("rank_fusion", named, top=2)["ids"].tolist() == [[b"b", b"a"]]
    spec = TensorSpec("s", "FP32", (-1, 3), ("a", "b", "c"))
    assert prove("rank_fusion", seat("a", spec), top=2) == (
        TensorSpec("ids", "BYTES", (-1, 2)),
        TensorSpec("scores", "FP32", (-1, 2)),
    )


def test_the_order_of_the_members_cannot_break_a_tie(merge: Merge) -> None:
    """The sum 1/61 + 1/62 + 1/67 depends on the order of adding; 1 and 2 hold these ranks in two, and tie."""
    rankings = [[1, 2, 11, 12, 13, 14, 15], [2, 11, 12, 13, 14, 15, 1], [11, 1, 12, 13, 14, 15, 2]]
    assert 1 / 61 + 1 / 67 + 1 / 62 != 1 / 62 + 1 / 61 + 1 / 67
    for order in permutations(rankings):
        merged = merge("rank_fusion", batch(*({"ids": [ranking]} for ranking in order)), top=3)
        assert merged["ids"].tolist() == [[11, 1, 2]]
        assert merged["scores"][0, 1] == merged["scores"][0, 2]


def test_padding_is_no_item_and_a_repeat_counts_once(merge: Merge) -> None:
    """Negative or empty ids are skipped without costing a rank; a second mention is ignored likewise."""
    state = batch({"ids": [[-1, 5, 5, 6]]})
    merged = merge("rank_fusion", state, top=3, k=1)
    assert merged["ids"].tolist() == [[5, 6, -1]]
    assert merged["scores"][0] == pytest.approx([1 / 2, 1 / 3, 0])
    words = merge("rank_fusion", batch({"ids": [[b"", b"x"]]}), top=2)
    assert words["ids"].tolist() == [[b"x", b""]]


def test_rankings_may_differ_in_length(merge: Merge, prove: Prove, seat: Seat) -> None:
    """Lists [-1, 2] and [-1, 3] fuse; scores of two widths do not."""
    merged = merge("rank_fusion", batch({"ids": [[1, 2]]}, {"ids": [[2, 3, 1]]}), top=3)
    assert merged["ids"].tolist() == [[2, 1, 3]]
    lists = [seat(f"m{n}", TensorSpec("ids", "INT64", (-1, n))) for n in (2, 3)]
    assert prove("rank_fusion", *lists, top=3)[0] == TensorSpec("ids", "INT64", (-1, 3))
    scores = [seat(f"m{n}", TensorSpec("s", "FP32", (-1, n))) for n in (2, 3)]
    with pytest.raises(StrategyError, match=r"\[-1, 2\] at member 'm2' but \[-1, 3\] at member 'm3'"):
        prove("rank_fusion", *scores)


@pytest.mark.parametrize("method", ["reciprocal_rank", "borda"])
def test_it_agrees_with_fusing_row_by_row(merge: Merge, method: str) -> None:
    """40 rows of 4 rankings with padding, repeats and missing members, against dictionaries."""
    rng = np.random.default_rng(8)
    rankings = rng.integers(-2, 9, (4, 40, 6))
    gone = rng.random((4, 40)) < 0.3
    gone[0] = False
    missing = [(int(i), int(j)) for i, j in np.argwhere(gone)]
    state = batch(*({"ids": r} for r in rankings), missing=missing)
    merged = merge("rank_fusion", state, method=method, top=9)
    for row in range(40):
        lists = [
            list(dict.fromkeys(i for i in rankings[s, row].tolist() if i >= 0))
            for s in range(4)
            if not gone[s, row]
        ]
        items = sorted({item for ranking in lists for item in ranking})
        score: dict[int, float] = defaultdict(float)
        for ranking in lists:
            left = len(items) - len(ranking)
            for item in items:
                if method == "reciprocal_rank":
                    score[item] += 1 / (61 + ranking.index(item)) if item in ranking else 0.0
                elif item in ranking:
                    score[item] += len(items) - ranking.index(item)
                else:
                    score[item] += (left + 1) / 2
        best = sorted(items, key=lambda item: (-round(score[item], 12), item))
        assert merged["ids"][row].tolist() == best + [-1] * (9 - len(best))
        assert merged["scores"][row, : len(best)] == pytest.approx([score[item] for item in best])


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("ids", "INT32", (-1, 3)),
        TensorSpec("ids", "INT64", (-1,)),
        TensorSpec("s", "FP32", (-1, 2, 2)),
    ],
)
def test_what_is_no_ranking_is_refused(prove: Prove, seat: Seat, spec: TensorSpec) -> None:
    """Other integers, and shapes that are not one list per row."""
    with pytest.raises(StrategyError, match=spec.name):
        prove("rank_fusion", seat("a", spec))
