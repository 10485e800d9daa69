"""Calibration: a worked example, models whose truth is known, and that a temperature moves no answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tests.unit.training.scored import labels_of, some
from training.data.dataset import Kind
from training.evaluate.calibration import calibration_error, fit_temperature, reliability
from training.evaluate.metrics import measure, softmax


def error(scores: Any, labels: Any, temperature: float = 1.0, **options: Any) -> float:
    weights = labels.weights[labels.known].astype(float)[None]
    return float(calibration_error(scores, labels, temperature, **options).of(weights)[0])


def honest(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """Scores whose probabilities are true: labels are drawn from them."""
    generator = np.random.default_rng(seed)
    scores = 2 * generator.normal(size=(rows, 3))
    truth = (softmax(scores).cumsum(axis=1) < generator.random((rows, 1))).sum(axis=1)
    return scores, truth


def test_the_worked_example() -> None:
    """Five answers that fall into two of five bins, by hand.

    Confidences .55 .58 (one right), .95 .95 .97 (all right), five bins: 2/5 |.5 - .565| + 3/5 |1 - .956...|
    = 0.052. The definition is Guo et al. (2017), equation 3.
    """
    confidence = np.array([0.55, 0.58, 0.95, 0.95, 0.97])
    scores = np.log(np.stack([confidence, 1 - confidence], axis=1))
    labels = labels_of(Kind.CLASSIFY, [0, 1, 0, 0, 0], names=("yes", "no"))
    expected = 2 / 5 * abs(0.5 - 0.565) + 3 / 5 * abs(1 - 2.87 / 3)
    assert error(scores, labels, bins=5) == pytest.approx(expected)
    assert expected == pytest.approx(0.052)


def test_true_probabilities_have_no_calibration_error() -> None:
    """But for the noise of the sample; overconfident ones have."""
    scores, truth = honest(40_000)
    labels = labels_of(Kind.CLASSIFY, truth)
    assert error(scores, labels) < 0.01
    assert error(3 * scores, labels) > 0.1


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_how_much_scores_are_exaggerated(factor: float) -> None:
    """And with it the calibration error falls to that of the honest scores."""
    scores, truth = honest(20_000)
    labels = labels_of(Kind.CLASSIFY, truth)
    found = fit_temperature(factor * scores, labels)
    assert found.value == pytest.approx(factor, rel=0.05)
    assert found.loss_after <= found.loss_before
    assert error(factor * scores, labels, found.value) < 0.012
    assert found.note == ""


@pytest.mark.parametrize("kind", [Kind.CLASSIFY, Kind.MULTILABEL])
def test_the_temperature_is_the_one_that_a_general_search_finds(kind: Kind) -> None:
    """Against scipy's minimiser of the weighted likelihood."""
    weights = np.random.default_rng(0).uniform(0.5, 2, 60)
    known = np.random.default_rng(1).random(60) < 0.8
    scores, labels, _ = some(kind, weights=weights, known=known)
    raw, truth, weight = scores[known], labels.values[known], labels.weights[known].astype(float)

    def loss(log_temperature: float) -> float:
        if kind is Kind.CLASSIFY:
            share = softmax(raw, np.exp(log_temperature))[np.arange(len(raw)), truth]
            return float(-(weight @ np.log(share)) / weight.sum())
        share = 1 / (1 + np.exp(-np.where(truth > 0.5, raw, -raw) / np.exp(log_temperature)))
        return float(-(weight @ np.log(share)).sum() / (3 * weight.sum()))

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    found = fit_temperature(scores, labels)
    assert found.value == pytest.approx(np.exp(best.x), rel=1e-3)
    assert found.loss_after == pytest.approx(best.fun, rel=1e-6)
    assert found.loss_before == pytest.approx(loss(0.0), rel=1e-6)


def test_a_temperature_moves_no_answer() -> None:
    """Accuracy and F1 are the same at any temperature."""
    scores, labels, _ = some(Kind.CLASSIFY)
    before, after = measure(scores, labels), measure(scores / 3.7, labels)
    assert (before["accuracy"], before["f1_macro"]) == (after["accuracy"], after["f1_macro"])


@pytest.mark.parametrize(
    ("scores", "note"),
    [(9 * np.eye(3), "never err"), (-9 * np.eye(3), "say nothing"), (np.full((3, 3), np.nan), "finite")],
)
def test_where_there_is_no_temperature_a_note_says_so(scores: Any, note: str) -> None:
    """Never an exception or an infinite one."""
    found = fit_temperature(scores, labels_of(Kind.CLASSIFY, [0, 1, 2]))
    assert note in found.note
    assert 0.02 <= found.value <= 50


def test_of_no_labels_there_is_no_temperature() -> None:
    """1 changes nothing."""
    found = fit_temperature(np.eye(3), labels_of(Kind.CLASSIFY, [0, 1, 2], known=[False] * 3))
    assert (found.value, found.note) == (1.0, "no row is labelled")


@pytest.mark.parametrize("kind", [Kind.CLASSIFY, Kind.MULTILABEL])
def test_masked_rows_never_matter_and_weights_count_as_rows(kind: Kind) -> None:
    """For the error, the temperature and the bins."""
    times = np.random.default_rng(6).integers(0, 3, 60)
    known = np.random.default_rng(7).random(60) < 0.7
    scores, labels, _ = some(kind, weights=times, known=known)
    rows = np.repeat(np.arange(60), times * known)
    repeated = labels_of(kind, labels.values[rows])
    wild = np.where(known[:, None], scores, np.nan)
    assert error(wild, labels) == pytest.approx(error(scores[rows], repeated))
    assert fit_temperature(wild, labels).value == pytest.approx(fit_temperature(scores[rows], repeated).value)
    for one, other in zip(reliability(wild, labels), reliability(scores[rows], repeated), strict=True):
        assert (one.rows, one.accuracy) == (other.rows, pytest.approx(other.accuracy, nan_ok=True))


def test_bins_hold_every_answer_once() -> None:
    """Certain ones too."""
    scores = np.array([[800.0, 0, 0], [0, 0, 0], [5, 0, 0]])
    bins = reliability(scores, labels_of(Kind.CLASSIFY, [0, 1, 1]))
    assert sum(part.rows for part in bins) == 3
    assert (bins[-1].rows, bins[-1].accuracy) == (2, 0.5)
    assert np.isnan(bins[0].confidence)


def test_numbers_have_no_calibration() -> None:
    """Only classes and labels have probabilities."""
    scores, labels, _ = some(Kind.REGRESS)
    with pytest.raises(ValueError, match="no probabilities"):
        calibration_error(scores, labels)
