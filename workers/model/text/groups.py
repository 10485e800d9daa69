"""Which rows of a run go together, so that little of the work is padding.

Rows that run together are padded to the longest of them. Run apart they are padded less, but each run costs
something by itself. Rules:

- A run costs :data:`RUN_TOKENS` and its padded tokens. Of all ways to cut the rows, put in order of length,
  the cheapest one is taken; it has at most :data:`MOST_RUNS` runs.
- Lengths are told apart in :data:`_LEVELS` levels, so that the decision takes as long for texts of thousands
  of tokens as for short ones.

What a run costs by itself was measured with MiniLM, six layers of 384, with fp32 and with int8 weights, on
one thread and on two, in runs of 1 to 64 rows of 2 to 256 tokens: 1.4 to 2.4 ms against 0.06 to 0.14 ms a
token, that is 12 to 25 tokens, most where two CPUs had nothing else to do. Small runs use them less well,
too: of 8 to 64 tokens, tried on the reviews of the examples in batches of 8, 16 and 64, those from 24 to 48
answered the most rows per second, and within 2 % of each other.

That the cheapest number of runs is found where one more is no cheaper follows from the costs: for rows in
order of length they obey the quadrangle inequality, so that the least cost is convex in the number of runs.

Source: F.F. Yao, "Efficient Dynamic Programming Using Quadrangle Inequalities", STOC 1980.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MOST_RUNS", "RUN_TOKENS", "split"]

Array = np.ndarray[Any, np.dtype[Any]]

RUN_TOKENS = 32
MOST_RUNS = 8
_LEVELS = 64


def split(
    lengths: Sequence[int] | Array, *, run_tokens: int = RUN_TOKENS, most: int = MOST_RUNS
) -> list[Array]:
    """Share rows out among runs.

    Args:
        lengths: How many tokens each row has.
        run_tokens: What a run costs by itself, in padded tokens.
        most: The most runs.

    Returns:
        The rows of each run, by their places; those of one run are in order.

    Example:
        >>> [rows.tolist() for rows in split([100, 3, 97, 5], run_tokens=20)]
        [[1, 3], [0, 2]]
    """
    sizes = np.asarray(lengths, np.int64)
    longest = int(sizes.max(initial=0))
    # all padding together may cost less than one more run
    if longest * len(sizes) - int(sizes.sum()) <= run_tokens:
        return [np.arange(len(sizes))]
    step = -(-longest // _LEVELS)
    levels = -(-sizes // step)
    present, counts = np.unique(levels, return_counts=True)
    firsts = present[_cuts(present * step, counts, run_tokens, most)]
    run_of = np.searchsorted(firsts, levels, side="right")
    return [np.flatnonzero(run_of == run) for run in range(len(firsts) + 1)]


def _cuts(widths: Array, counts: Array, run_tokens: int, most: int) -> list[int]:
    """Return where in ascending ``widths`` a new run begins, so that the sum of all costs is least."""
    before = np.concatenate([[0], np.cumsum(counts)])
    # of one run, by its first and its last width
    cost = run_tokens + (before[1:] - before[:-1, None]) * widths.astype(np.float64)
    cost[np.tril_indices(len(widths), -1)] = np.inf
    best = cost[0]
    begins: list[Array] = []
    while len(begins) + 1 < min(most, len(widths)):
        # by the first width of the last run, and its last
        totals = best[:-1, None] + cost[1:]
        if totals[:, -1].min() >= best[-1]:
            break
        begins.append(totals.argmin(axis=0) + 1)
        best = totals.min(axis=0)
    cuts: list[int] = []
    last = len(widths) - 1
    for begin in reversed(begins):
        cuts.insert(0, int(begin[last]))
        last = cuts[0] - 1
    return cuts
