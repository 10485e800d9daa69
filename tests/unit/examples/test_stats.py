"""Intervals: known cases, the normal theory, and how often they cover the truth."""

from __future__ import annotations

import numpy as np
import pytest

from examples.demo.stats import Interval, bootstrap, paired_bootstrap


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
    monkeypatch.setattr("examples.demo.stats._CHUNK", 120)
    assert bootstrap(hits, draws=100) == whole
