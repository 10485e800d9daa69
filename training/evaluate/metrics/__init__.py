"""How good answers are: pure functions of raw scores and labels.

Every metric is a figure of *weighted* rows. Rows without a label take no part, whatever their scores and
values are; a row of weight 2 counts as two rows. What is not defined is :class:`Undefined`, a NaN that says
why, and never an exception: an exception here means that shapes do not fit, which is a fault of the
program.

Raw scores, by kind of task: logits [n, k] of classes and of labels; numbers [n] for regression and ranking;
begin and end in characters [n, 2] for spans, begin below 0 for "no answer".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.dataset import Kind, Labels
from training.evaluate.metrics.classes import classified, labelled, softmax
from training.evaluate.metrics.figures import Figure, Undefined
from training.evaluate.metrics.numbers import measured
from training.evaluate.metrics.ranks import CUT, ranked
from training.evaluate.metrics.spans import spanned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["METRICS", "Metric", "Undefined", "figures", "main_metric", "measure", "softmax"]

_NOT_FINITE = "a score of a labelled row is not a finite number"


@dataclass(frozen=True, slots=True)
class Metric:
    """What people should know of a metric.

    Args:
        title: Its name.
        higher: Whether more is better.
        share: Whether it is a share, shown as per cent, its differences in points.
    """

    title: str
    higher: bool = True
    share: bool = True


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("accuracy"),
    "f1_macro": Metric("macro F1"),
    "f1_micro": Metric("micro F1"),
    "auc": Metric("AUC"),
    "em": Metric("exact match"),
    "f1": Metric("span F1"),
    f"ndcg_{CUT}": Metric(f"NDCG@{CUT}"),
    "mrr": Metric("MRR"),
    "pearson": Metric("Pearson's r", share=False),
    "mae": Metric("MAE", higher=False, share=False),
    "rmse": Metric("RMSE", higher=False, share=False),
}

#: What a task is judged by when one figure must do, by kind.
_MAIN = {
    Kind.CLASSIFY: "accuracy",
    Kind.MULTILABEL: "auc",
    Kind.REGRESS: "pearson",
    Kind.RANK: f"ndcg_{CUT}",
    Kind.SPAN: "f1",
}


def main_metric(kind: Kind) -> str:
    """Return the name of the metric that a kind of task is judged by when one figure must do."""
    return _MAIN[kind]


def measure(scores: NDArray[Any], labels: Labels, contexts: Sequence[str] | None = None) -> dict[str, float]:
    """Return every metric of a task.

    Args:
        scores: Raw scores of each row.
        labels: What is known of each row.
        contexts: For spans, what they are cut from.

    Example:
        >>> labels = Labels(
        ...     kind=Kind.REGRESS,
        ...     values=np.array([1.0, 2.0, 99.0], np.float32),
        ...     known=np.array([True, True, False]),
        ...     weights=np.ones(3, np.float32),
        ... )
        >>> measure(np.array([1.0, 3.0, 0.0]), labels)["mae"]
        0.5
    """
    found = figures(scores, labels, contexts)
    weights = labels.weights[labels.known].astype(np.float64)[None]
    why = None
    if not weights.any():
        why = "the weights of all labelled rows are 0" if weights.size else "no row is labelled"
    measures: dict[str, float] = {}
    for name, figure in found.items():
        value = np.nan if why else float(figure.of(weights)[0])
        measures[name] = value if np.isfinite(value) else Undefined(why or figure.undefined)
    return measures


def figures(scores: NDArray[Any], labels: Labels, contexts: Sequence[str] | None = None) -> dict[str, Figure]:
    """Return every metric of a task as a figure of its *labelled* rows' weights, to be asked many times.

    Args:
        scores: As for :func:`measure`.
        labels: Likewise.
        contexts: Likewise.
    """
    rows = np.flatnonzero(labels.known)
    values, known = labels.values[rows], np.asarray(scores)[rows]
    finite = bool(np.isfinite(known).all())
    if not finite:
        known = np.zeros_like(known)  # the names of the metrics are wanted all the same
    match labels.kind:
        case Kind.CLASSIFY:
            found = classified(_floats(known, (len(rows), len(labels.classes))), values)
        case Kind.MULTILABEL:
            found = labelled(_floats(known, values.shape), values)
        case Kind.REGRESS:
            found = measured(_floats(known, values.shape), values.astype(np.float64))
        case Kind.RANK:
            assert labels.queries is not None  # noqa: S101 - Labels sees to it
            found = ranked(_floats(known, values.shape), values.astype(np.float64), labels.queries[rows])
        case Kind.SPAN:
            if contexts is None:
                raise ValueError("spans are compared as text: contexts are needed")
            asked = rows.tolist()
            accepted = [labels.accepted[row] for row in asked] if labels.accepted else [()] * len(asked)
            spans = [each or (tuple(first),) for each, first in zip(accepted, values.tolist(), strict=True)]
            found = spanned(known, spans, [contexts[row] for row in asked])
    return found if finite else {name: Figure(_nowhere, _NOT_FINITE) for name in found}


def _nowhere(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.full(len(weights), np.nan)


def _floats(scores: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    numbers = np.asarray(scores, np.float64)
    if numbers.size != int(np.prod(shape)) or numbers.shape[0] != shape[0]:
        raise ValueError(f"scores of shape {numbers.shape} do not fit labels of shape {shape}")
    return numbers.reshape(shape)
