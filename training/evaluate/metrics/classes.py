"""Metrics of classes: of one class per row, and of any number of labels per row.

Sources: scikit-learn's user guide, 3.4.4 ("Classification metrics"), for averaging; T. Fawcett, "An
    introduction to ROC
analysis" (2006), sections 7 and 9.2, for the area under the curve as a count of ordered pairs, a tie as
half of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluate.metrics.figures import Figure, divided, mean_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["classified", "labelled", "softmax"]


def softmax(scores: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float64]:
    """Turn raw scores into probabilities, row by row.

    Example:
        >>> softmax(np.log([[1.0, 3.0]])).round(2).tolist()
        [[0.25, 0.75]]
    """
    scaled = np.asarray(scores, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def classified(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> dict[str, Figure]:
    """Return the metrics of one class per row: accuracy, macro and micro F1, one-vs-rest AUC.

    Macro F1 is the mean over classes that occur, as truth or as answer. AUC is the mean over classes that
    some rows have and others have not, of probabilities. With one answer per row, micro F1 is the accuracy.

    Args:
        scores: Raw scores, [n, k].
        truth: The class of each row, [n].
    """
    answer = scores.argmax(axis=1)
    classes = np.arange(scores.shape[1])
    said, true = answer[:, None] == classes, truth[:, None] == classes
    return {
        "accuracy": mean_of((answer == truth).astype(np.float64)),
        "f1_macro": Figure(_f1(said, true, macro=True), "the weights add up to 0"),
        "f1_micro": Figure(_f1(said, true, macro=False), "the weights add up to 0"),
        "auc": Figure(_mean_auc(softmax(scores), true), "all rows are of one class"),
    }


def labelled(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, Figure]:
    """Return the metrics of any number of labels per row; a label is given where its raw score is above 0.

    Accuracy counts rows all of whose labels are right.

    Args:
        scores: Raw scores, [n, k].
        truth: 1 where a row has a label, [n, k].
    """
    said, true = scores > 0, truth > 0.5
    return {
        "accuracy": mean_of((said == true).all(axis=1).astype(np.float64)),
        "f1_macro": Figure(_f1(said, true, macro=True), "no row has a label, and none is given one"),
        "f1_micro": Figure(_f1(said, true, macro=False), "no row has a label, and none is given one"),
        "auc": Figure(_mean_auc(scores, true), "no label is there on some rows and missing on others"),
    }


def _f1(
    said: NDArray[np.bool_], true: NDArray[np.bool_], *, macro: bool
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    hits, both = (said & true).astype(np.float64), said.astype(np.float64) + true

    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        twice, total = 2 * (weights @ hits), weights @ both
        return _mean(divided(twice, total)) if macro else divided(twice.sum(axis=1), total.sum(axis=1))

    return of


def _mean_auc(
    scores: NDArray[np.float64], true: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    # a class that no row has, or all have, can be left out before any weighting
    told = [k for k in range(true.shape[1]) if 0 < np.count_nonzero(true[:, k]) < len(true)]
    areas = [_auc(scores[:, k], true[:, k]) for k in told]

    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        if not areas:
            return np.full(len(weights), np.nan)
        return _mean(np.stack([area(weights) for area in areas], axis=1))

    return of


def _auc(
    scores: NDArray[np.float64], true: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    order = np.argsort(scores, kind="stable")
    rising, positive = scores[order], true[order].astype(np.float64)
    starts = np.flatnonzero(np.r_[True, rising[1:] != rising[:-1]])  # of runs of equal scores

    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        by_score = weights[:, order]
        yes = by_score * positive
        no = by_score - yes
        if len(starts) < len(order):  # it takes longer than all the rest
            yes, no = (np.add.reduceat(each, starts, axis=1) for each in (yes, no))
        below = no.cumsum(axis=1) - no / 2
        return divided((yes * below).sum(axis=1), yes.sum(axis=1) * no.sum(axis=1))

    return of


def _mean(per_class: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over classes for which there is a figure."""
    there = np.isfinite(per_class)
    return divided(np.where(there, per_class, 0.0).sum(axis=1), there.sum(axis=1).astype(np.float64))
