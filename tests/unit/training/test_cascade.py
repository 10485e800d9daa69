"""A cheap model before a costly one: the curve is what trying every threshold gives."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.scored import labels_of, some
from training.data.dataset import Kind
from training.evaluate.cascade import answered, choose, curve
from training.evaluate.metrics import measure


def test_every_point_is_what_its_threshold_gives() -> None:
    """Weights and masks included."""
    weights = np.random.default_rng(0).uniform(0.5, 2, 80)
    known = np.random.default_rng(1).random(80) < 0.8
    cheap, labels, _ = some(Kind.CLASSIFY, rows=80, weights=weights, known=known)
    costly = cheap + 3 * np.eye(3)[labels.values]
    rows = np.flatnonzero(known)
    points = curve(cheap, costly, labels)
    assert [point.share for point in points] == sorted(point.share for point in points)
    for point in points:
        together, _ = answered(cheap, costly, point.threshold)
        sure = np.isin(rows, rows[(together[rows] == cheap[rows]).all(axis=1)])
        assert point.accuracy == pytest.approx(measure(together, labels)["accuracy"])
        assert point.share == pytest.approx(weights[rows][sure].sum() / weights[rows].sum())


def test_the_ends_are_the_models_alone() -> None:
    """No row answered by the cheap one, and every row."""
    cheap, labels, _ = some(Kind.CLASSIFY)
    costly = some(Kind.CLASSIFY, seed=1)[0]
    points = curve(cheap, costly, labels)
    assert (points[0].share, points[-1].share) == (0, 1)
    assert points[0].accuracy == pytest.approx(measure(costly, labels)["accuracy"])
    assert points[-1].accuracy == pytest.approx(measure(cheap, labels)["accuracy"])


def test_the_choice_keeps_what_may_be_lost() -> None:
    """It is the largest share within the tolerance; the costly model alone always is."""
    cheap, labels, _ = some(Kind.CLASSIFY, rows=300)
    points = curve(cheap, 9 * np.eye(3)[labels.values], labels)
    chosen = choose(points, tolerance=0.02)
    assert chosen.accuracy >= 0.98
    assert all(point.share <= chosen.share for point in points if point.accuracy >= 0.98)
    wrong = curve(np.roll(9 * np.eye(3)[labels.values], 1, axis=1), 9 * np.eye(3)[labels.values], labels)
    assert choose(wrong).share == 0


def test_equally_sure_rows_go_the_same_way() -> None:
    """A threshold cannot tell them apart."""
    labels = labels_of(Kind.CLASSIFY, [0, 0, 1])
    points = curve(np.array([[2.0, 0, 0]] * 3), 9 * np.eye(3)[[0, 0, 1]], labels)
    assert [(p.share, p.accuracy) for p in points] == [(0.0, 1.0), (1.0, pytest.approx(2 / 3))]


def test_of_no_labels_there_is_no_curve() -> None:
    """And no exception."""
    cheap, labels, _ = some(Kind.CLASSIFY, known=[False] * 60)
    assert curve(cheap, cheap, labels) == ()
