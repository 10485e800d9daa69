"""Figures: what a ratio cancels, and what a spread shows."""

from __future__ import annotations

import doctest

import pytest

from bench import figures
from bench.figures import BASE, FIGURES, Case, Leg, leg, ratios, results, spread

CASE = Case(in_flight=1, rows=1)


def constant(latency_s: float) -> Leg:
    """A leg in which every one of a hundred calls, one after the other, took the same time."""
    return leg([latency_s] * 100, elapsed_s=100 * latency_s, cpu_s=100 * latency_s)


def test_examples_are_true() -> None:
    """What the docstrings show is what the functions return."""
    found = doctest.testmod(figures)
    assert found.attempted >= 3
    assert found.failed == 0


def test_a_slow_round_cancels_out() -> None:
    """Where the whole machine halves its speed for a round, ratios stay exactly as they were."""
    speeds = [1.0, 0.5, 1.0]
    base = [constant(0.001 / speed) for speed in speeds]
    twice = [constant(0.002 / speed) for speed in speeds]
    gateway = results({CASE: {BASE: base, "gateway": twice}})[1]
    assert gateway.relative["p50_s"] == figures.Spread(2.0, 2.0, 2.0)
    assert gateway.relative["calls_per_s"].low == pytest.approx(0.5)
    assert gateway.relative["calls_per_s"].high == pytest.approx(0.5)
    assert gateway.absolute["p50_s"] == figures.Spread(0.002, 0.002, 0.004)  # the absolute figure does not


def test_ratios_are_of_the_same_round() -> None:
    """Paired with other rounds, the same figures yield other ratios."""
    assert ratios([2.0, 4.0], [1.0, 2.0]) == (2.0, 2.0)
    assert ratios([2.0, 4.0], [2.0, 1.0]) == (1.0, 4.0)


def test_rounds_are_not_dropped_silently() -> None:
    """A round without its base is an error."""
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_a_spread_hides_no_round() -> None:
    """The worst and the best round are the ends, in whatever order they came; the median ignores how far."""
    assert spread([5.0, 1.0, 99.0]) == spread([99.0, 5.0, 1.0]) == figures.Spread(5.0, 1.0, 99.0)
    assert spread([5.0]) == figures.Spread(5.0, 5.0, 5.0)


def test_the_rate_counts_callers_that_overlap() -> None:
    """Two callers of 1 s calls in 10 s make two calls per second: the rate is not the latency's inverse."""
    both = leg([1.0] * 20, elapsed_s=10.0, cpu_s=4.0)
    assert both.calls_per_s == 2.0
    assert both.p50_s == 1.0
    assert both.cpu_s == 0.2


def test_a_rare_slow_call_shows_in_the_99th_percentile_only() -> None:
    """Two slow calls of a hundred leave the median alone."""
    tail = leg([0.001] * 98 + [1.0] * 2, elapsed_s=1.0, cpu_s=1.0)
    assert tail.p50_s == 0.001
    assert tail.p99_s == 1.0


def test_the_base_is_one_of_itself() -> None:
    """Every figure of the base is exactly 1 of the base's; results keep the order of cases and targets."""
    other = Case(in_flight=64, rows=1)
    legs = {BASE: [constant(0.003), constant(0.007)], "worker": [constant(0.01), constant(0.01)]}
    found = results({CASE: legs, other: legs})
    assert [(r.case, r.target) for r in found] == [
        (CASE, BASE),
        (CASE, "worker"),
        (other, BASE),
        (other, "worker"),
    ]
    assert all(found[0].relative[name] == figures.Spread(1.0, 1.0, 1.0) for name in FIGURES)
