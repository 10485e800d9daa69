"""How findings look: tables for people, the same in Markdown for the docs page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

from bench import BenchFailed
from bench.report import short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.report import Claim, Table

__all__ = ["HOLDS", "between_markers", "claim_line", "describe", "markdown", "on_screen"]

#: Whether a claim holds, as pages say it.
HOLDS = {True: "yes", False: "**no**", None: "not measured"}


def describe(facts: Mapping[str, Any], how: str) -> str:
    """Say how figures came about: on what, and how."""
    libraries = ", ".join(f"{name} {number}" for name, number in facts["libraries"].items())
    return (
        f"{facts['cpu']}, {facts['cpus']} CPUs, {facts['others']:.0%} of their time used by other work; "
        f"Python {facts['python']}, {libraries}. {how}"
    )


def on_screen(table: Table) -> RichTable:
    """Return a table for the terminal, with what is in brackets below the number."""
    made = RichTable(box=box.SIMPLE_HEAD, padding=0, show_edge=False, title=table.title, title_justify="left")
    for i, heading in enumerate(table.columns):
        made.add_column(escape(heading), justify="left" if i < table.numbers else "right")
    for row in table.rows:
        made.add_row(*(escape(cell).replace(" (", "\n(") for cell in row))
    return made


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 2) -> str:
    """Return a table in Markdown."""
    rule = ["---" if i < numbers else "---:" for i in range(len(columns))]
    lines = (columns, rule, *rows)
    return "\n".join(
        f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in row)} |" for row in lines
    )


def between_markers(page: str, name: str, text: str) -> str:
    """Return a page with the text between the markers of one name replaced.

    Raises:
        BenchFailed: If it does not have each marker once, in order.
    """
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, begin, rest = page.partition(first)
    _, end, tail = rest.partition(last)
    if not (begin and end) or first in rest or last in tail:
        raise BenchFailed(f"the page needs {first} and, after it, {last}, each once")
    return f"{head}{first}\n{text}\n{last}{tail}"


def claim_line(claim: Claim) -> str:
    """Return a claim in one line, with marks for the terminal."""
    wanted = f"{'at least' if claim.at_least else 'at most'} {claim.bound:g} {claim.unit}"
    if claim.found is None:
        return f"[yellow]not measured[/] {escape(claim.text)}: {wanted}"
    mark = "[green]holds[/]" if claim.holds else "[red]does not hold[/]"
    return f"{mark} {escape(claim.text)}: {short(claim.found.median)}, wanted {wanted}"
