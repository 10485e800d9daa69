"""A cheap model first, a costly one where the cheap one is not sure: how much is saved, and what it costs.

The cheap model's confidence is the probability of the class it names. The threshold is chosen on validation
rows; what it is worth is measured on test rows, which have no part in the choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluate.metrics import softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.data.dataset import Labels

__all__ = ["Point", "answered", "choose", "curve"]


@dataclass(frozen=True, slots=True)
class Point:
    """What one threshold gives.

    Args:
        threshold: The cheap model answers where it is at least so sure.
        share: The share of rows that it answers.
        accuracy: Of both together.
    """

    threshold: float
    share: float
    accuracy: float


def curve(cheap: NDArray[Any], costly: NDArray[Any], labels: Labels) -> tuple[Point, ...]:
    """Return a point for every threshold that matters, from the costly model alone to the cheap one alone.

    Args:
        cheap: Raw scores of classes by the cheap model, [n, k].
        costly: By the costly one, [n, k].
        labels: What is known of each row.

    Example:
        >>> from training.data.dataset import Kind, Labels
        >>> labels = Labels(kind=Kind.CLASSIFY, values=np.array([0, 1]), known=np.array([True, True]),
        ...     weights=np.ones(2, np.float32), classes=("no", "yes"))
        >>> sure_and_right, unsure_and_wrong = [4.0, 0.0], [1.0, 0.0]
        >>> right = 9 * np.eye(2)
        >>> points = curve(np.array([sure_and_right, unsure_and_wrong]), right, labels)
        >>> [(point.share, point.accuracy) for point in points]
        [(0.0, 1.0), (0.5, 1.0), (1.0, 0.5)]
    """
    rows = np.flatnonzero(labels.known)
    weights = labels.weights[rows].astype(np.float64)
    if not weights.any():
        return ()
    sure = softmax(cheap[rows]).max(axis=1)
    first, second = (
        (scores[rows].argmax(axis=1) == labels.values[rows]) * weights for scores in (cheap, costly)
    )
    order = np.argsort(-sure, kind="stable")
    shares = np.r_[0.0, np.cumsum(weights[order])] / weights.sum()
    gains = np.r_[0.0, np.cumsum((first - second)[order])]
    accuracies = (second.sum() + gains) / weights.sum()
    # rows that are equally sure go the same way
    ends = np.flatnonzero(np.diff(sure[order], append=-1.0)) + 1
    head = Point(float("inf"), 0.0, float(accuracies[0]))
    return head, *(Point(float(sure[order][i - 1]), float(shares[i]), float(accuracies[i])) for i in ends)


def choose(points: tuple[Point, ...], *, tolerance: float = 0.0) -> Point:
    """Return the point at which the cheap model answers most, and both together lose no more than allowed.

    Args:
        points: A curve over *validation* rows.
        tolerance: What may be lost of the costly model's accuracy.
    """
    floor = points[0].accuracy - tolerance
    return max((point for point in points if point.accuracy >= floor), key=lambda point: point.share)


def answered(cheap: NDArray[Any], costly: NDArray[Any], threshold: float) -> tuple[NDArray[Any], float]:
    """Return the raw scores of both together, and the share of rows that the cheap model answers.

    Args:
        cheap: Raw scores of classes by the cheap model, [n, k].
        costly: By the costly one, [n, k].
        threshold: The cheap model answers where it is at least so sure.
    """
    first = softmax(cheap).max(axis=1) >= threshold
    return np.where(first[:, None], cheap, costly), float(first.mean()) if len(first) else 0.0
