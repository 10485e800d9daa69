"""How a step's rows are cut into the pieces that are computed together.

Pure. No cut changes the step's gradient. Rows of one list (for ranking) stay in one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pieces"]


def pieces(
    step: NDArray[np.int64],
    count: int,
    *,
    lists: NDArray[np.int64] | None = None,
    lengths: NDArray[np.int64] | None = None,
) -> list[NDArray[np.int64]]:
    """Return which places of a step make up each piece; a piece may be empty.

    Args:
        step: The rows.
        count: How many pieces.
        lists: The list of each row of the data set, negative for a row that stands alone; None where all do.
        lengths: Of each row of the data set: rows of about the same length go together, because a piece is
            padded to its longest. None where all are as long.

    Example:
        >>> [piece.tolist() for piece in pieces(np.arange(10, 15), 2)]
        [[0, 1, 2], [3, 4]]
        >>> [piece.tolist() for piece in pieces(np.arange(4), 2, lists=np.array([7, 8, 7, 8]))]
        [[0, 2], [1, 3]]
    """
    places = np.arange(len(step))
    if lists is None:
        if lengths is not None and count > 1:
            places = np.argsort(lengths[step], kind="stable")
        return [piece.astype(np.int64) for piece in np.array_split(places, count)]
    together: dict[int, list[int]] = {}
    for place, number in enumerate(lists[step].tolist()):
        together.setdefault(number if number >= 0 else -1 - place, []).append(place)
    parts: list[list[Any]] = [[] for _ in range(count)]
    for unit in together.values():
        min(parts, key=len).extend(unit)
    return [np.asarray(part, np.int64) for part in parts]
