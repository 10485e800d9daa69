"""What a case found, as values that are written to JSON and shown from there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.figures import ratios, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.figures import Result, Spread

__all__ = [
    "Claim",
    "Outcome",
    "Table",
    "as_json",
    "between",
    "cell",
    "figures_table",
    "relative",
    "row",
    "short",
]


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that is claimed, and what was found.

    Args:
        text: What is claimed, for people.
        bound: The number that it is held to.
        at_least: Whether more is better; otherwise less is.
        unit: What the numbers are, such as ``x echo`` or ``MB``.
        found: The figure; None if it could not be measured.
    """

    text: str
    bound: float
    at_least: bool
    unit: str
    found: Spread | None

    @property
    def holds(self) -> bool | None:
        """Whether the median keeps the bound; None if there is none."""
        if self.found is None:
            return None
        return self.found.median >= self.bound if self.at_least else self.found.median <= self.bound


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text.

    Args:
        title: What it shows.
        columns: Headings; those from ``numbers`` on hold numbers.
        rows: Cells.
        numbers: How many columns hold text.
        notes: What went wrong, line by line.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 2
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one case found.

    Args:
        tables: For people.
        claims: What is claimed of it.
        results: Load by load and target by target.
        facts: Whatever else was measured, for programs.
        how: How it was measured, in a sentence; empty = in the rounds that were asked for.
    """

    tables: Sequence[Table]
    claims: Sequence[Claim] = ()
    results: Sequence[Result] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    how: str = ""


#: Heading, field, whether it is divided by the base, and the factor.
_COLUMNS = (
    ("calls/s", "calls_per_s", False, 1.0),
    ("of echo", "calls_per_s", True, 1.0),
    ("p50 ms", "p50_s", False, 1e3),
    ("times echo", "p50_s", True, 1.0),
    ("p99 ms", "p99_s", False, 1e3),
    ("p99.9 ms", "p999_s", False, 1e3),
    ("CPU ms", "cpu_s", False, 1e3),
    ("client CPU ms", "generator_cpu_s", False, 1e3),
)


def row(result: Result | None) -> list[str]:
    """Return the usual cells of a result, or their headings without one."""
    if result is None:
        return [heading for heading, *_ in _COLUMNS]
    return [
        "" if spread is None else cell(spread, factor)
        for _, name, divided, factor in _COLUMNS
        for spread in [(result.relative if divided else result.absolute).get(name)]
    ]


def figures_table(title: str, results: Sequence[Result]) -> Table:
    """Return the usual table: a row for each load and target."""
    rows, load = [], None
    for result in results:
        named = "" if result.load == load else result.load.name
        rows.append([named, result.target, *row(result), result.problem.partition(": ")[0]])
        load = result.load
    columns = ["load", "asked", *row(None), "failed"]
    return table(title, columns, rows, notes=problems(results))


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: int = 2,
    notes: Sequence[str] = (),
) -> Table:
    """Return a table without the columns that are empty in every row."""
    shown = [i for i in range(len(columns)) if any(cells[i] for cells in rows)]
    kept = [[cells[i] for i in shown] for cells in rows]
    return Table(title, [columns[i] for i in shown], kept, numbers, notes)


def problems(results: Sequence[Result]) -> tuple[str, ...]:
    """Return what went wrong, each thing once."""
    return tuple(dict.fromkeys(f"{result.target}: {result.problem}" for result in results if result.problem))


def relative(results: Sequence[Result], load: str, target: str, figure: str) -> Spread | None:
    """Return one figure of a target divided by the base's, if it was measured."""
    for result in results:
        if (result.load.name, result.target) == (load, target):
            return result.relative.get(figure)
    return None


def between(results: Sequence[Result], load: str, one: str, other: str, figure: str) -> Spread | None:
    """Return one figure of a target divided by another's in the same round, if both were measured."""
    legs = {result.target: result.legs for result in results if result.load.name == load}
    ours, theirs = (
        [getattr(leg, figure) for leg in legs.get(name, ()) if leg.calls] for name in (one, other)
    )
    return spread(ratios(ours, theirs)) if ours and len(ours) == len(theirs) else None


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain values; times are in seconds."""
    claims = [{**asdict(claim), "holds": claim.holds} for claim in outcome.claims]
    return {**asdict(outcome), "claims": claims}


def cell(spread: Spread, factor: float = 1.0) -> str:
    """Return a median with the least and the greatest in brackets, where they differ."""
    low, middle, high = (short(factor * value) for value in (spread.low, spread.median, spread.high))
    return middle if low == high else f"{middle} ({low}-{high})"


def short(value: float) -> str:
    """Return a number with about three digits.

    Example:
        >>> short(12345.6), short(12.345), short(0.12345)
        ('12,346', '12.3', '0.12')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"
