"""Metrics of ranked lists.

NDCG@k: K. Järvelin and J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), with the
relevance itself as gain and log2 as discount. Rows with equal scores share the discounts of their places:
F. McSherry and M. Najork, "Computing information retrieval performance measures efficiently in the presence
of tied scores" (2008). MRR: E. Voorhees, "The TREC-8 question answering track report" (1999), section 3.1;
relevant are the rows that none of the list exceeds.

The order of the rows in the file never counts, and a list whose rows are all equally relevant is left out:
no order of it is better than another.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np

from training.evaluate.metrics.figures import Figure, divided

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["CUT", "ranked"]

#: How many places NDCG looks at.
CUT = 5

_ALL_ALIKE = "no list has rows of different relevance"


def ranked(
    scores: NDArray[np.float64], relevance: NDArray[np.float64], queries: NDArray[np.int64], *, cut: int = CUT
) -> dict[str, Figure]:
    """Return NDCG at a cut and the mean reciprocal rank; a list weighs the mean of its rows' weights.

    Args:
        scores: A number per row, [n]; more is better.
        relevance: The true one, [n]; NDCG is undefined where one is negative.
        queries: The list of each row, [n]; below 0 = none, and the row takes no part.
        cut: How many places NDCG looks at.
    """
    order = np.argsort(queries, kind="stable")
    order = order[queries[order] >= 0]
    starts = np.flatnonzero(np.diff(queries[order], prepend=queries[order[:1]] - 1))
    lists = [rows for rows in np.split(order, starts[1:]) if len(rows)]
    sizes = np.array([len(rows) for rows in lists])
    told = np.array([relevance[rows].min() < relevance[rows].max() for rows in lists], bool)

    def mean(values: Iterable[float], why: str) -> Figure:
        per_list = np.fromiter(values, np.float64)

        def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            if not len(per_list) or not told.any():
                return np.full(len(weights), np.nan)
            each = np.add.reduceat(weights[:, order], starts, axis=1) / sizes * told
            return divided(each @ per_list, each.sum(axis=1))

        return Figure(of, why)

    negative = bool(len(relevance)) and float(relevance.min()) < 0
    gained = () if negative else (_ndcg(scores[rows], relevance[rows], cut) for rows in lists)
    return {
        f"ndcg_{cut}": mean(gained, "a relevance is below 0" if negative else _ALL_ALIKE),
        "mrr": mean((_reciprocal_rank(scores[rows], relevance[rows]) for rows in lists), _ALL_ALIKE),
    }


def _ndcg(scores: NDArray[np.float64], relevance: NDArray[np.float64], cut: int) -> float:
    discounts = np.zeros(len(scores))
    discounts[:cut] = 1 / np.log2(np.arange(2, 2 + len(discounts[:cut])))
    ideal = float(np.sort(relevance)[::-1] @ discounts)
    _, place, size = np.unique(-scores, return_inverse=True, return_counts=True)
    gains = np.bincount(place, relevance) / size
    ends = np.cumsum(size)
    shares = np.add.reduceat(discounts, np.r_[0, ends[:-1]])
    return (
        float(gains @ shares) / ideal if ideal else 0.0
    )  # of a list without any relevance, which is not told


def _reciprocal_rank(scores: NDArray[np.float64], relevance: NDArray[np.float64]) -> float:
    """The reciprocal rank of the first relevant row, on average over the orders of equal scores."""
    relevant = relevance == relevance.max()
    best = scores[relevant].max()
    before = int(np.count_nonzero(scores > best))
    tied, good = (int(np.count_nonzero(rows)) for rows in (scores == best, relevant & (scores == best)))
    ways = comb(tied, good)
    return sum(comb(tied - j, good - 1) / ways / (before + j) for j in range(1, tied - good + 2))
