"""From scores of tokens to a span of characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["best_spans"]

#: Most tokens of an answer.
LONGEST = 30


def best_spans(
    scores: NDArray[Any], context: NDArray[np.bool_], offsets: NDArray[np.int64], *, longest: int = LONGEST
) -> NDArray[np.int64]:
    """Return the best span of each row, begin and end (exclusive) in characters, int64 [b, 2]; -1 for none.

    Args:
        scores: Of beginning and of ending at a token, [b, t, 2].
        context: Which tokens may; the first token of a row stands for no answer.
        offsets: The characters that a token stands for, [b, t, 2].
        longest: Most tokens of a span.

    Example:
        >>> scores = np.array([[[0, 0], [1, 0], [0, 2]]], float)
        >>> best_spans(scores, np.ones((1, 3), bool), np.array([[[0, 0], [0, 3], [4, 9]]]))
        array([[0, 9]])
    """
    t = scores.shape[1]
    places = np.arange(t)
    span = (places[None, :] >= places[:, None]) & (places[None, :] < places[:, None] + longest)
    inside = context.copy()
    inside[:, 0] = False
    allowed = span[None] & inside[:, :, None] & inside[:, None, :]
    total = np.where(allowed, scores[:, :, None, 0] + scores[:, None, :, 1], -np.inf).reshape(len(scores), -1)
    best = total.argmax(1)
    begin, end = np.divmod(best, t)
    rows = np.arange(len(scores))
    found = np.stack([offsets[rows, begin, 0], offsets[rows, end, 1]], 1)
    none = scores[:, 0].sum(1) >= total[rows, best]
    return np.where(none[:, None], -1, found).astype(np.int64)
