"""Intervals: known cases, the normal theory, and how often they cover the truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.scored import labels_of, some
from training.data.dataset import Kind
from training.evaluate.compare import Interval, bootstrap, drawn, interval, paired_bootstrap, resample
from training.evaluate.metrics import figures, measure


def test_an_accuracy_interval_is_as_wide_as_the_binomial_says() -> None:
    """Its half-width is 1.96 standard errors of a share."""
    hits = np.arange(2000) < 1400
    interval = bootstrap(hits)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 2000)
    assert interval.estimate == 0.7
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.05)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 300 samples of 200 rows with a true share of 0.6, some 95 % of the intervals hold it."""
    samples = np.random.default_rng(1).random((300, 200)) < 0.6
    intervals = [bootstrap(sample, draws=500, seed=i) for i, sample in enumerate(samples)]
    covered = np.mean([interval.low <= 0.6 <= interval.high for interval in intervals])
    assert 0.91 <= covered <= 0.985


def test_pairing_makes_the_difference_of_two_similar_models_visible() -> None:
    """Models that differ in 30 of 1000 rows, always for one of them: only the pairs tell them apart."""
    second = np.arange(1000) < 700
    first = np.arange(1000) < 730
    assert paired_bootstrap(first, second).excludes_zero
    alone, other = bootstrap(first), bootstrap(second)
    assert alone.low < other.high


def test_the_paired_interval_follows_the_discordant_rows() -> None:
    """Its standard error is that of the mean of the differences, -1, 0 or 1."""
    first = np.array([1] * 60 + [0] * 40 + [1] * 900)
    second = np.array([0] * 60 + [1] * 40 + [1] * 900)
    interval = paired_bootstrap(first, second)
    half = 1.96 * np.std(first - second) / np.sqrt(1000)
    assert interval.estimate == pytest.approx(0.02)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.05)


def test_models_that_agree_on_every_row_are_not_told_apart() -> None:
    """Zero with a width of zero does not exclude zero."""
    hits = np.arange(50) % 3 == 0
    interval = paired_bootstrap(hits, hits)
    assert interval == Interval(0.0, 0.0, 0.0)
    assert not interval.excludes_zero


def test_rows_of_a_group_count_once() -> None:
    """Ten equal rows in each group give the interval of the groups, three times as wide as of lone rows."""
    per_group = np.arange(100) < 60
    rows, groups = np.repeat(per_group, 10), np.repeat(np.arange(100), 10)
    grouped, alone = bootstrap(rows, groups), bootstrap(rows)
    assert (grouped.low, grouped.high) == (bootstrap(per_group).low, bootstrap(per_group).high)
    assert (grouped.high - grouped.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(10), rel=0.1)


def test_groups_of_unequal_size_weigh_by_their_rows() -> None:
    """The estimate is the mean over rows, not over groups."""
    assert bootstrap(np.array([1, 1, 1, 0]), np.array([7, 7, 7, 9])).estimate == 0.75


def test_a_seed_gives_one_answer() -> None:
    """Equal seeds give equal intervals, other seeds others."""
    hits = np.arange(100) < 37
    assert bootstrap(hits, seed=3) == bootstrap(hits, seed=3)
    assert bootstrap(hits, draws=999, seed=3) != bootstrap(hits, draws=999, seed=4)


def test_draws_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks bound the memory and nothing else."""
    hits = np.arange(40) < 13
    whole = bootstrap(hits, draws=100)
    monkeypatch.setattr("training.evaluate.compare._CHUNK", 120)
    assert bootstrap(hits, draws=100) == whole


def test_a_figure_that_is_no_mean_has_an_interval_too() -> None:
    """Drawing rows as weights gives what drawing them by index gives, for every metric of a task."""
    scores, labels, _ = some(Kind.CLASSIFY, rows=40)
    found = {name: figure.of for name, figure in figures(scores, labels).items()}
    on_draws = resample(found, np.arange(40), draws=50)
    times = np.concatenate(list(drawn(np.arange(40), draws=50)))
    for draw, weights in enumerate(times.astype(int)):
        rows = np.repeat(np.arange(40), weights)
        expected = measure(scores[rows], labels_of(Kind.CLASSIFY, labels.values[rows]))
        for name, value in expected.items():
            assert on_draws[name][draw] == pytest.approx(value), name


def test_intervals_of_a_correlation_cover_the_truth() -> None:
    """Of 200 samples of 150 pairs with a true correlation of 0.6, some 95 % of the intervals hold it."""
    covered = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        truth = generator.normal(size=150)
        scores = 0.6 * truth + 0.8 * generator.normal(size=150)
        found = figures(scores, labels_of(Kind.REGRESS, truth))["pearson"]
        values = resample({"r": found.of}, np.arange(150), draws=400, seed=seed)["r"]
        ends = interval(0.0, values)
        covered.append(ends.low <= 0.6 <= ends.high)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_figures_on_the_same_draws_may_be_subtracted() -> None:
    """Two almost equal models differ on every draw by almost nothing, though each varies a lot."""
    scores, labels, _ = some(Kind.REGRESS, rows=200)
    nudged = scores + 0.01 * np.random.default_rng(1).normal(size=200)
    on_draws = resample(
        {"a": figures(scores, labels)["pearson"].of, "b": figures(nudged, labels)["pearson"].of},
        np.arange(200),
        draws=300,
    )
    assert np.std(on_draws["a"] - on_draws["b"]) < np.std(on_draws["a"]) / 20


def test_whole_groups_are_drawn() -> None:
    """In every draw the rows of a group count equally often, and as many groups are drawn as there are."""
    groups = np.array([5, 5, 9, 2, 9])
    for weights in drawn(groups, draws=100):
        assert np.array_equal(weights[:, 0], weights[:, 1])
        assert np.array_equal(weights[:, 2], weights[:, 4])
        assert np.array_equal(weights[:, [0, 2, 3]].sum(axis=1), np.full(100, 3))


def test_the_interval_of_groups_covers_and_that_of_lone_rows_does_not() -> None:
    """Of 200 samples of 40 groups of 8 like rows; drawing rows alone is the negative control."""
    covered = {"groups": 0, "rows": 0}
    for seed in range(200):
        generator = np.random.default_rng(seed)
        values = np.repeat(generator.normal(size=40), 8) + 0.3 * generator.normal(size=320)
        for how, groups in (("groups", np.repeat(np.arange(40), 8)), ("rows", None)):
            found = bootstrap(values, groups, draws=300, seed=seed)
            covered[how] += found.low <= 0 <= found.high
    assert covered["groups"] >= 0.9 * 200
    assert covered["rows"] < 0.7 * 200


def test_a_few_undefined_draws_are_left_out_and_many_leave_no_interval() -> None:
    """A rare class may be missing from a draw."""
    values = np.linspace(0, 1, 101)
    few, many = values.copy(), values.copy()
    few[:5], many[:50] = np.nan, np.nan
    assert interval(0.5, few).low == pytest.approx(np.quantile(values[5:], 0.025))
    assert np.isnan(interval(0.5, many).low)
    assert np.isnan(interval(np.nan, values).high)
    assert not interval(np.nan, values).excludes_zero


def test_of_no_rows_nothing_is_drawn() -> None:
    """An empty part has no interval, and that is no exception."""
    assert resample({"mean": lambda weights: weights.sum(axis=1)}, np.empty(0, int))["mean"].size == 0
    assert np.isnan(interval(np.nan, np.empty(0)).low)
