"""Reports: what is claimed, what is compared, and what a reader sees of what failed."""

from __future__ import annotations

import doctest
import json
from dataclasses import astuple

import pytest

from bench import report
from bench.cases import added
from bench.figures import BASE, OK, Call, Leg, Load, Result, Spread, leg, results
from bench.report import Claim, Outcome, as_json, between, figures_table, relative
from bench.show import claim_line, markdown, on_screen

ONE, MANY = Load("one", 1), Load("many", 64)


def constant(latency_s: float, status: str = OK) -> Leg:
    made = [Call((i + 1) * latency_s, latency_s, status) for i in range(100)]
    return leg(made, lead_s=0.0, window_s=100 * latency_s)


LEGS = {
    BASE: [constant(0.001), constant(0.002)],
    "ours": [constant(0.002), constant(0.004)],
    "peer": [constant(0.008), constant(0.004)],
    "dead": [constant(0.001, "Unavailable")] * 2,
}
FOUND = results({ONE: LEGS, MANY: LEGS})
LOST = Result(ONE, "gone", "not measured: it\nhas no wheel", {}, {}, ())


def test_examples_are_true() -> None:
    """What the docstrings show is what the functions return."""
    found = doctest.testmod(report)
    assert found.attempted >= 1
    assert found.failed == 0


def test_two_targets_are_compared_round_by_round() -> None:
    """Ours is 4 times as fast as the peer in the first round and as fast in the second."""
    assert between(FOUND, "one", "ours", "peer", "calls_per_s") == Spread(2.5, 1.0, 4.0)
    assert relative(FOUND, "one", "ours", "calls_per_s") == Spread(0.5, 0.5, 0.5)


@pytest.mark.parametrize("other", ["dead", "gone", "unknown"])
def test_nothing_is_claimed_of_what_was_not_measured(other: str) -> None:
    """Neither a dead target nor an absent one is beaten."""
    assert between([*FOUND, LOST], "one", "ours", other, "calls_per_s") is None
    assert Claim("x", 4.0, True, "times", None).holds is None


@pytest.mark.parametrize(
    ("at_least", "median", "holds"),
    [(True, 4.0, True), (True, 3.9, False), (False, 4.0, True), (False, 4.1, False)],
)
def test_a_claim_is_held_to_its_bound(at_least: bool, median: float, holds: bool) -> None:
    """The bound itself is enough; the median decides, not the best round."""
    found = Claim("x", 4.0, at_least, "times", Spread(median, 0.0, 100.0))
    assert found.holds is holds
    assert ("does not hold" in claim_line(found)) is not holds


def test_a_failure_stands_in_the_table() -> None:
    """A dead target and one that could not start have rows like the others, and their words follow."""
    table = figures_table("t", [*FOUND, LOST])
    rows = {(row[0] or "", row[1]): row[-1] for row in table.rows}
    assert rows["", "dead"] == "200 of 200 calls failed"
    assert [note for note in table.notes if "gone" in note] == ["gone: not measured: it\nhas no wheel"]
    assert any("Unavailable 200" in note for note in table.notes)


def test_a_table_is_rectangular() -> None:
    """Every line has as many cells as the first, on the page and on the screen, with and without failures."""
    for found in (FOUND, [*FOUND, LOST], FOUND[:2]):
        table = figures_table("t", found)
        lines = markdown(table.columns, table.rows).splitlines()
        assert len(lines) == 2 + len(found) == 2 + on_screen(table).row_count
        assert len({line.count("|") for line in lines}) == 1


def test_a_cell_cannot_break_the_table() -> None:
    """Lines and bars in a cell, as an error text may have, stay inside it."""
    assert markdown(["a", "b"], [["x\ny", "1|2"]]).splitlines()[-1] == "| x y | 1/2 |"


def test_a_range_is_shown_where_rounds_differ() -> None:
    """The median is followed by the least and the greatest, unless they are the same."""
    table = figures_table("t", FOUND[:2])
    base, ours = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert base["of echo"] == "1.00"
    assert ours["p50 ms"] == "3.00 (2.00-4.00)"


def test_a_report_is_plain_json() -> None:
    """Programs can read every claim, with whether it holds, and every round."""
    outcome = Outcome([figures_table("t", FOUND)], [Claim("x", 1.0, True, "times", Spread(1, 1, 1))], FOUND)
    read = json.loads(json.dumps(as_json(outcome)))
    assert read["claims"][0]["holds"] is True
    assert len(read["results"][0]["legs"]) == 2


def test_what_is_added_is_added_to_the_slowest_member_of_the_round() -> None:
    """Members take turns at being slowest; the difference is taken in each round, then the median."""
    legs = {
        BASE: [constant(0.001)] * 2,
        f"a {added.DIRECTLY}": [constant(0.002), constant(0.006)],
        f"b {added.DIRECTLY}": [constant(0.004), constant(0.001)],
        "ours": [constant(0.005), constant(0.009)],
        "dead": [constant(0.001, "Unavailable")] * 2,
    }
    found = results({ONE: legs})
    ours = added.added(found, ONE, "ours", "p50_s")
    assert ours is not None
    assert astuple(ours) == pytest.approx((0.002, 0.001, 0.003))
    assert added.added(found, ONE, "dead", "p50_s") is None
    assert added.added(found, ONE, "unknown", "p50_s") is None
