"""How a model came to be: the figures of its history, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["History", "series"]

#: Points that a line of every few steps is averaged down to.
_POINTS = 40


@dataclass(frozen=True, slots=True)
class History:
    """The lines of a run's ``history.jsonl``.

    Args:
        model: The model's name.
        lines: Each with ``step`` and some of ``losses``, ``validation``, ``weights`` and ``cosines``, by
            task.
    """

    model: str
    lines: Sequence[Mapping[str, Any]]

    def names(self, key: str) -> list[str]:
        """Return what there are figures of, in the order of their first line."""
        return list(dict.fromkeys(name for line in self.lines for name in line.get(key, ())))


def series(history: History, key: str, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and values; many of them are averaged, because losses of single batches jump.

    Example:
        >>> lines = [{"step": 1, "losses": {"a": 3.0}}, {"step": 2}]
        >>> steps, values = series(History("m", lines), "losses", "a")
        >>> steps.tolist(), values.tolist()
        ([1.0], [3.0])
    """
    found = [(line["step"], line[key][name]) for line in history.lines if name in line.get(key, ())]
    found = [(step, value) for step, value in found if value is not None and isfinite(value)]
    if not found:
        return np.empty(0), np.empty(0)
    steps, values = np.array(found, np.float64).T
    pieces = min(_POINTS, len(steps))
    return (
        np.array([piece.mean() for piece in np.array_split(steps, pieces)]),
        np.array([piece.mean() for piece in np.array_split(values, pieces)]),
    )
