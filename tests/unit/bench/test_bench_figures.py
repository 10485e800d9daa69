"""Figures: what a ratio cancels, and what a spread shows."""

from __future__ import annotations

import doctest

import pytest

from bench import figures
from bench.figures import BASE, OK, Call, Leg, Load, Result, leg, problem, ratios, results, spread

LOAD = Load("one", in_flight=1)


def constant(latency_s: float, *, status: str = OK, calls: int = 100) -> Leg:
    """A leg in which every call, one after the other, took the same time."""
    made = [Call((i + 1) * latency_s, latency_s, status) for i in range(calls)]
    return leg(made, lead_s=0.0, window_s=calls * latency_s, cpu_s=calls * latency_s)


def test_examples_are_true() -> None:
    """What the docstrings show is what the functions return."""
    found = doctest.testmod(figures)
    assert found.attempted >= 4
    assert found.failed == 0


def test_a_slow_round_cancels_out() -> None:
    """Where the whole machine halves its speed for a round, ratios stay exactly as they were."""
    speeds = [1.0, 0.5, 1.0]
    base = [constant(0.001 / speed) for speed in speeds]
    twice = [constant(0.002 / speed) for speed in speeds]
    gateway = results({LOAD: {BASE: base, "gateway": twice}})[1]
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
    """Two callers of 1 s calls make two calls per second: the rate is not the latency's inverse."""
    both = leg([Call(float(i // 2 + 1), 1.0, OK) for i in range(20)], lead_s=0.0, window_s=10.0, cpu_s=4.0)
    assert both.calls_per_s == 2.0
    assert both.p50_s == 1.0
    assert both.cpu_s == 0.2


def test_a_rare_slow_call_shows_in_the_99th_percentile_only() -> None:
    """Two slow calls of a hundred leave the median alone."""
    made = [Call(2.0, 0.001, OK)] * 98 + [Call(2.0, 1.0, OK)] * 2
    tail = leg(made, lead_s=0.5, window_s=2.0)
    assert tail.p50_s == 0.001
    assert tail.p99_s == 1.0


def test_one_in_a_thousand_is_not_told_from_a_hundred() -> None:
    """The 99.9th percentile needs enough calls; with fewer there is none."""
    assert constant(0.001, calls=figures.ENOUGH_FOR_P999 - 1).p999_s is None
    assert constant(0.001, calls=figures.ENOUGH_FOR_P999).p999_s == pytest.approx(0.001)


def test_the_lead_and_the_end_do_not_count() -> None:
    """Slow calls while connections are made, and those that end when the load is over, are in no figure."""
    slow = [Call(0.9, 0.9, OK), Call(3.5, 0.9, OK)]
    steady = [Call(1.0 + i / 10, 0.1, OK) for i in range(1, 21)]
    assert leg([*slow, *steady], lead_s=1.0, window_s=2.0) == leg(
        [Call(0.1, 0.1, OK), *steady], lead_s=1.0, window_s=2.0
    )


def test_calls_that_fail_are_counted_by_name_and_in_no_latency() -> None:
    """An error that comes fast makes no server fast, and none is left out of the report."""
    made = [Call(i / 10, 0.1, OK) for i in range(1, 11)] + [Call(0.5, 0.001, "Unavailable")] * 30
    found = leg(made, lead_s=0.0, window_s=1.0)
    assert (found.calls, found.p50_s) == (10, pytest.approx(0.1))
    assert found.failed == {"Unavailable": 30}
    assert problem([found, found]) == "60 of 80 calls failed: Unavailable 60"


def test_a_target_that_answers_nothing_has_no_figures() -> None:
    """It is no division by zero and no infinite latency; the report says what happened."""
    dead, silent = constant(0.001, status="Unavailable"), leg([], lead_s=0.1, window_s=1.0)
    base = [constant(0.001)] * 2
    found = {r.target: r for r in results({LOAD: {BASE: base, "dead": [dead] * 2, "silent": [silent] * 2}})}
    assert found["dead"].absolute == found["dead"].relative == {}
    assert found["dead"].problem == "200 of 200 calls failed: Unavailable 200"
    assert found["silent"].problem == "no call ended inside the window"


def test_a_round_without_an_answer_is_not_left_out_of_the_median() -> None:
    """A target that answers in one round of two has no figure: its good round alone would flatter it."""
    legs = {BASE: [constant(0.001)] * 2, "lame": [constant(0.002), leg([], lead_s=0.0, window_s=1.0)]}
    lame = results({LOAD: legs})[1]
    assert "p50_s" not in lame.absolute


def test_the_base_is_one_of_itself() -> None:
    """Every figure of the base is exactly 1 of the base's; results keep the order of loads and targets."""
    other = Load("many", in_flight=64)
    legs = {BASE: [constant(0.003), constant(0.007)], "worker": [constant(0.01), constant(0.01)]}
    found = results({LOAD: legs, other: legs})
    assert [(r.load, r.target) for r in found] == [
        (LOAD, BASE),
        (LOAD, "worker"),
        (other, BASE),
        (other, "worker"),
    ]
    ones = {"calls_per_s", "p50_s", "p99_s", "cpu_s"}
    assert ones <= found[0].relative.keys()
    assert all(found[0].relative[name] == figures.Spread(1.0, 1.0, 1.0) for name in ones)


def test_a_result_says_nothing_when_all_is_well() -> None:
    """No problem, no words."""
    found = results({LOAD: {BASE: [constant(0.001)]}})[0]
    assert isinstance(found, Result)
    assert found.problem == ""
