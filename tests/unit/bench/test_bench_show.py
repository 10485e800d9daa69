"""Figures in the documentation: what is rewritten and what is left alone."""

from __future__ import annotations

import pytest

from bench import BenchFailed
from bench.figures import Case, leg, results
from bench.show import BEGIN, END, between_markers, markdown, table

LEGS = {
    "echo": [leg([0.001, 0.002], elapsed_s=0.003, cpu_s=0.001)] * 2,
    "gateway": [leg([took], elapsed_s=took, cpu_s=0.005) for took in (0.01, 0.02)],
}
RESULTS = results({Case(1, 1): LEGS, Case(64, 1): LEGS})


def test_only_what_is_between_the_markers_changes() -> None:
    """Text before and after stays byte for byte, and writing twice is writing once."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = between_markers(page, "new")
    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert between_markers(once, "new") == once


@pytest.mark.parametrize(
    "page", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"], ids=str
)
def test_a_page_without_its_markers_is_refused(page: str) -> None:
    """Figures are never written where nobody asked for them."""
    with pytest.raises(BenchFailed, match="needs"):
        between_markers(page, "new")


def test_a_markdown_table_is_rectangular() -> None:
    """Every line has as many cells as the first: otherwise it is no table to a renderer."""
    lines = markdown(RESULTS).splitlines()
    assert len(lines) == 2 + len(RESULTS) == 2 + table(RESULTS).row_count
    assert len({line.count("|") for line in lines}) == 1


def test_a_range_is_shown_where_rounds_differ() -> None:
    """The gateway's two rounds differ, the echo's do not."""
    echo, gateway = markdown(RESULTS).splitlines()[2:4]
    assert "(10.0-20.0)" in gateway
    assert "(" not in echo
