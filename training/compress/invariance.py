"""Whether a file answers a row alike alone and among others.

The law of whoever serves it: row i of a batch gets the answer that it gets alone. Rows are real ones,
padded as they come: alone to their own length, in batches of 2, 8 and 32 to the longest. Alike means within
1e-6 plus 1e-5 of the row's largest value, and the same label unless two classes tie: what a worker asks of
a model before it lets callers share a call. So fp16 arithmetic fails, by about 1e-4: what fp32 rounds
differently in the last place may be a whole step of fp16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.compress.running import answers, open_session
from training.compress.scores import drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ROWS", "Invariance", "invariance"]

Array = np.ndarray[Any, np.dtype[Any]]

#: As many as are tried, where there are so many.
ROWS = 96
_SIZES = (2, 8, 32)
_ABSOLUTE, _RELATIVE = 1e-6, 1e-5


@dataclass(frozen=True, slots=True)
class Invariance:
    """What was found.

    Args:
        same: Whether every row was answered alike.
        worst: The largest difference of any number.
        labels: How many answers had another largest class among others.
        compared: How many answers were compared: rows times sizes.
        sizes: Rows of the batches.
    """

    same: bool
    worst: float
    labels: int
    compared: int
    sizes: tuple[int, ...]


def invariance(
    onnx: bytes,
    feed: Callable[[Array], Mapping[str, Array]],
    rows: Array,
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Invariance:
    """Hold rows alone against rows among others.

    Args:
        onnx: The file's content.
        feed: Makes a batch of rows, padded to the longest.
        rows: Real rows, of which :data:`ROWS` are drawn.
        report: Told how many answers of how many are given.
    """
    session = open_session(onnx)
    rows = drawn(rows, ROWS)
    sizes = tuple(size for size in _SIZES if size <= len(rows))
    total = len(rows) + sum(len(rows) // size * size for size in sizes)
    alone = []
    for i in range(len(rows)):
        alone.append(answers(session, feed(rows[i : i + 1])))
        report(i + 1, total)
    same, worst, labels, compared = True, 0.0, 0, 0
    for size in sizes:
        for first in range(0, len(rows) - size + 1, size):
            together = answers(session, feed(rows[first : first + size]))
            for i in range(size):
                each = {name: array[i] for name, array in together.items()}
                alike, apart, other = _compared(
                    {name: array[0] for name, array in alone[first + i].items()}, each
                )
                same &= alike
                worst, labels, compared = max(worst, apart), labels + other, compared + 1
            report(len(rows) + compared, total)
    return Invariance(same, worst, labels, compared, sizes)


def _compared(alone: Mapping[str, Array], among: Mapping[str, Array]) -> tuple[bool, float, bool]:
    """Return whether a row's answers are alike, by how much they differ, and whether a label does."""
    same, worst, other = True, 0.0, False
    for name, wanted in alone.items():
        if wanted.dtype.kind != "f":
            continue
        # an open dimension is longer among others, by padding
        found = among[name][tuple(slice(length) for length in wanted.shape)]
        apart = np.abs(found.astype(np.float64) - wanted)
        largest = float(np.abs(wanted).max(initial=0.0))
        bound = _ABSOLUTE + _RELATIVE * largest
        farthest = float(np.where(np.isfinite(apart), apart, np.inf).max(initial=0.0))
        same &= farthest <= bound
        worst = max(worst, farthest)
        if wanted.size > 1 and int(found.argmax()) != int(wanted.argmax()):
            other = True
            first, second = np.sort(wanted.ravel())[-1:-3:-1]
            same &= bool(first - second <= 2 * bound)
    return same, worst, other
