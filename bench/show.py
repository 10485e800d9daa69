"""How figures look: a table for people, the same in Markdown, JSON for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from bench import BenchFailed
from bench.figures import BASE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.figures import Result, Spread
    from bench.load import Pace

__all__ = ["between_markers", "describe", "markdown", "report", "table"]

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
COLUMNS = ("load", "asked", "calls/s", "% of echo", "p50 ms", "÷ echo", "p99 ms", "CPU ms")


def describe(facts: dict[str, Any], pace: Pace) -> str:
    """Say in a sentence how the figures came about."""
    libraries = ", ".join(f"{name} {number}" for name, number in facts["libraries"].items())
    return (
        f"{facts['cpu']}, {facts['cpus']} CPUs, {facts['others']:.0%} of their time used by other work; "
        f"Python {facts['python']}, {libraries}. {pace.rounds} rounds of {pace.window_s:g} s; "
        "medians, with least and greatest of all rounds."
    )


def table(results: Sequence[Result]) -> Table:
    """Return the figures as a table: medians, and the range over all rounds below them."""
    made = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for i, title in enumerate(COLUMNS):
        made.add_column(title, justify="left" if i < 2 else "right")
    for row in _rows(results, "\n[dim]{}[/]"):
        made.add_row(row[0].replace(", ", ",\n"), *row[1:], end_section=row[1] == results[-1].target)
    return made


def markdown(results: Sequence[Result]) -> str:
    """Return the figures as a Markdown table, with the range over all rounds in brackets."""
    rule = ["---"] * 2 + ["---:"] * (len(COLUMNS) - 2)
    return "\n".join(f"| {' | '.join(row)} |" for row in (COLUMNS, rule, *_rows(results, " ({})")))


def report(results: Sequence[Result], facts: dict[str, Any], pace: Pace) -> dict[str, Any]:
    """Return everything as plain values; times are in seconds."""
    return {"machine": facts, "pace": asdict(pace), "results": [asdict(result) for result in results]}


def between_markers(page: str, text: str) -> str:
    """Return a page with the text between its markers replaced.

    Raises:
        BenchFailed: If it does not have each marker once, in order.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in tail:
        raise BenchFailed(f"the page needs {BEGIN} and, after it, {END}, each once")
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def _rows(results: Sequence[Result], form: str) -> list[list[str]]:
    return [
        [
            result.case.name if result.target == BASE else "",
            result.target,
            _cell(result.absolute["calls_per_s"], form),
            _cell(result.relative["calls_per_s"], form, scale=100),
            _cell(result.absolute["p50_s"], form, scale=1000),
            _cell(result.relative["p50_s"], form),
            _cell(result.absolute["p99_s"], form, scale=1000),
            _cell(result.absolute["cpu_s"], form, scale=1000),
        ]
        for result in results
    ]


def _cell(figure: Spread, form: str, *, scale: float = 1.0) -> str:
    low, middle, high = (_short(scale * value) for value in (figure.low, figure.median, figure.high))
    return middle if low == high else middle + form.format(f"{low}-{high}")


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"
