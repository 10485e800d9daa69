"""Whether a model is as often right as it is sure, and the temperature that mends it.

Source: C. Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017): expected calibration error
    over bins of equal
width (section 2), temperature scaling fitted on validation by the likelihood (section 4.2). A temperature
moves no answer, only how sure it is.

For one class per row, an answer's confidence is the probability of the class it names. For several labels,
every label of a row is an answer of its own, yes or no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.dataset import Kind, Labels
from training.evaluate.metrics import softmax
from training.evaluate.metrics.figures import Figure, divided

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["BINS", "KINDS", "Bin", "Temperature", "calibration_error", "fit_temperature", "reliability"]

#: Kinds of task whose scores become probabilities.
KINDS = (Kind.CLASSIFY, Kind.MULTILABEL)
BINS = 15

#: Outside of these no temperature is looked for: scores that never err have none.
_COLDEST, _HOTTEST = 0.02, 50.0
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers that are about equally sure.

    Args:
        low: From this confidence on.
        high: Up to this one.
        rows: Weight of the answers.
        confidence: Their mean confidence; NaN if there is none.
        accuracy: The share that is right; likewise.
    """

    low: float
    high: float
    rows: float
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Temperature:
    """What raw scores are divided by.

    Args:
        value: The temperature; 1 changes nothing.
        loss_before: Mean negative log-likelihood of the rows it was fitted on, at 1.
        loss_after: The same at the temperature.
        note: Why it is 1 or at a bound; empty if it was found.
    """

    value: float
    loss_before: float
    loss_after: float
    note: str = ""


def calibration_error(
    scores: NDArray[Any], labels: Labels, temperature: float = 1.0, *, bins: int = BINS
) -> Figure:
    """Return the expected calibration error as a figure of the labelled rows' weights.

    Args:
        scores: Raw scores of each row.
        labels: What is known of each row.
        temperature: What the scores are divided by.
        bins: How many bins of equal width.

    Example:
        >>> labels = Labels(kind=Kind.CLASSIFY, values=np.array([0, 1]), known=np.array([True, True]),
        ...     weights=np.ones(2, np.float32), classes=("no", "yes"))
        >>> sure = calibration_error(np.log([[0.9, 0.1], [0.9, 0.1]]), labels)
        >>> float(sure.of(np.ones((1, 2)))[0].round(3))
        0.4
    """
    confidence, right, rows = _answers(scores, labels, temperature)
    place = _place(confidence, bins)
    moments = np.zeros((int(labels.known.sum()), bins))
    np.add.at(moments, (rows, place), confidence - right)
    per_row = len(confidence) / len(moments) if len(moments) else 1.0

    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return divided(np.abs(weights @ moments).sum(axis=1), weights.sum(axis=1) * per_row)

    return Figure(of, "no row is labelled")


def reliability(
    scores: NDArray[Any], labels: Labels, temperature: float = 1.0, *, bins: int = BINS
) -> tuple[Bin, ...]:
    """Return how sure and how right answers are, by confidence.

    Args:
        scores: As for :func:`calibration_error`.
        labels: Likewise.
        temperature: Likewise.
        bins: Likewise.
    """
    confidence, right, rows = _answers(scores, labels, temperature)
    weights = labels.weights[labels.known].astype(np.float64)[rows]
    place = _place(confidence, bins)
    total, sure, good = (
        np.bincount(place, weights * values, minlength=bins).astype(np.float64)
        for values in (1.0, confidence, right)
    )
    edges = np.linspace(0, 1, bins + 1)
    parts = zip(edges[:-1], edges[1:], total, divided(sure, total), divided(good, total), strict=True)
    return tuple(Bin(*map(float, part)) for part in parts)


def fit_temperature(scores: NDArray[Any], labels: Labels) -> Temperature:
    """Return the temperature under which the labels are likeliest. Fit it on validation, never on test.

    The loss is convex in 1 / temperature, so where its slope changes sign is found by halving.

    Args:
        scores: Raw scores of each row.
        labels: What is known of each row.
    """
    raw = np.asarray(scores, np.float64)[labels.known]
    weights = labels.weights[labels.known].astype(np.float64)
    if not weights.any():
        return Temperature(1.0, np.nan, np.nan, "no row is labelled")
    if not np.isfinite(raw).all():
        return Temperature(1.0, np.nan, np.nan, "a score is not a finite number")
    loss, slope = _loss(raw, labels.values[labels.known], weights, labels.kind)
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    if slope(low) >= 0 or slope(high) <= 0:
        end = low if slope(low) >= 0 else high
        why = "the scores say nothing of the labels" if end == low else "the scores never err"
        return Temperature(1 / end, loss(1.0), loss(end), f"{why}: the bound is taken")
    for _ in range(_STEPS):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return Temperature(float(1 / high), loss(1.0), loss(high))


def _answers(
    scores: NDArray[Any], labels: Labels, temperature: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Return each answer's confidence, whether it is right, and its place among the labelled rows."""
    if labels.kind not in KINDS:
        raise ValueError(f"{labels.kind.value} has no probabilities")
    raw, truth = np.asarray(scores, np.float64)[labels.known], labels.values[labels.known]
    if labels.kind is Kind.CLASSIFY:
        answer = raw.argmax(axis=1)
        right = (answer == truth).astype(np.float64)
        rows = np.arange(len(raw))
        return softmax(raw, temperature)[rows, answer], right, rows
    sure = 1 / (1 + np.exp(-np.abs(raw) / temperature))
    right = ((raw > 0) == (truth > 0.5)).astype(np.float64)
    return sure.ravel(), right.ravel(), np.repeat(np.arange(len(raw)), raw.shape[1])


def _place(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    # bins are open below and closed above, as in the source
    place: NDArray[np.int64] = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1).astype(np.int64)
    return place


def _loss(
    raw: NDArray[np.float64], truth: NDArray[Any], weights: NDArray[np.float64], kind: Kind
) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Return the mean negative log-likelihood of scores times a factor, and its slope in that factor."""
    if kind is Kind.CLASSIFY:
        logits, target = raw, truth
    else:  # each label is a choice between 0 and its score
        logits = np.stack([np.zeros(raw.size), raw.ravel()], axis=1)
        target = (truth.ravel() > 0.5).astype(np.int64)
        weights = np.repeat(weights, raw.shape[1])
    chosen = logits[np.arange(len(logits)), target]
    total = weights.sum()

    def loss(factor: float) -> float:
        scaled = logits * factor
        top = scaled.max(axis=1)
        each = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - chosen * factor
        return float(weights @ each / total)

    def slope(factor: float) -> float:
        expected = (softmax(logits * factor) * logits).sum(axis=1)
        return float(weights @ (expected - chosen) / total)

    return loss, slope
