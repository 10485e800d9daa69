"""Made-up labels and scores for the tests of training's evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.dataset import Kind, Labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NAMES", "classes", "labels_of", "numbers", "some"]

NAMES = ("negative", "neutral", "positive")


def labels_of(
    kind: Kind,
    values: Any,
    *,
    known: Any = None,
    weights: Any = None,
    queries: Any = None,
    names: tuple[str, ...] = NAMES,
) -> Labels:
    """Labels, all known and of weight 1 unless it is said."""
    dtype = np.int64 if kind in (Kind.CLASSIFY, Kind.SPAN) else np.float32
    array = np.array(values, dtype)
    named = kind in (Kind.CLASSIFY, Kind.MULTILABEL)
    return Labels(
        kind=kind,
        values=array,
        known=np.ones(len(array), bool) if known is None else np.array(known, bool),
        weights=np.ones(len(array), np.float32) if weights is None else np.array(weights, np.float32),
        classes=names if named else (),
        queries=None if queries is None else np.array(queries, np.int64),
    )


def some(
    kind: Kind, *, rows: int = 60, seed: int = 0, **options: Any
) -> tuple[NDArray[Any], Labels, list[str]]:
    """Scores with some ties that know something, labels and contexts of a kind."""
    generator = np.random.default_rng(seed)
    contexts = [f"the {i} quick brown foxes jump" for i in range(rows)]
    if kind is Kind.CLASSIFY:
        truth: Any = generator.integers(0, 3, rows)
        scores: Any = generator.normal(size=(rows, 3)) + 1.5 * np.eye(3)[truth]
    elif kind is Kind.MULTILABEL:
        truth = generator.random((rows, 3)) < [0.2, 0.5, 0.7]
        scores = generator.normal(size=(rows, 3)) + truth - 0.5
    elif kind is Kind.SPAN:
        truth = np.stack([np.full(rows, 4), generator.integers(6, 16, rows)], axis=1)
        scores = np.where(generator.random((rows, 1)) < 0.5, truth, [4, 12])
        return scores, labels_of(kind, truth, **options), contexts
    else:
        truth = generator.integers(0, 5, rows)
        scores = truth + generator.normal(size=rows)
        if kind is Kind.RANK:
            options.setdefault("queries", generator.integers(0, rows // 6, rows))
    return np.round(scores, 1), labels_of(kind, truth, **options), contexts


def classes(truth: Any, answers: Any, **options: Any) -> tuple[NDArray[Any], Labels]:
    """Scores that answer so, and the labels."""
    return 4.0 * np.eye(3)[np.array(answers)], labels_of(Kind.CLASSIFY, truth, **options)


def numbers(truth: Any, answers: Any, **options: Any) -> tuple[NDArray[Any], Labels]:
    """Numbers, and the labels."""
    return np.array(answers, np.float64), labels_of(Kind.REGRESS, truth, **options)
