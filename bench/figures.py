"""From latencies to figures: rates, quantiles, ratios within a round, and how far they spread.

A shared machine is faster in one minute than in the next, so figures of different minutes do not compare. In
every round each target is measured once, one right after the other, and is divided by the base target of
the same round; the median of these ratios, with the least and the greatest, is what is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BASE", "FIGURES", "Case", "Leg", "Result", "Spread", "leg", "ratios", "results", "spread"]

#: What everything is divided by.
BASE = "echo"
#: The fields of a :class:`Leg` that are reported.
FIGURES = ("calls_per_s", "p50_s", "p99_s", "cpu_s")


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load.

    Args:
        in_flight: Calls that are always under way.
        rows: Rows of each call.
    """

    in_flight: int
    rows: int

    @property
    def name(self) -> str:
        """How people read it."""
        return f"{self.in_flight} at once, {self.rows} row{'s' if self.rows > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Leg:
    """One target, measured once.

    Args:
        calls: How many calls were made and answered.
        calls_per_s: The same, per second.
        p50_s: Their median latency.
        p99_s: The latency that 99 % of them do not exceed.
        cpu_s: CPU time of all the target's processes for one call.
    """

    calls: int
    calls_per_s: float
    p50_s: float
    p99_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of one figure over all rounds, the least and the greatest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Result:
    """What all rounds say of one target in one case.

    Args:
        case: The load.
        target: Who answered.
        absolute: Each of :data:`FIGURES`.
        relative: Each of them divided by the base target's in the same round.
        legs: What they are made of, round by round.
    """

    case: Case
    target: str
    absolute: Mapping[str, Spread]
    relative: Mapping[str, Spread]
    legs: tuple[Leg, ...]


def leg(latencies_s: Sequence[float], elapsed_s: float, cpu_s: float) -> Leg:
    """Sum up calls, at least one.

    Args:
        latencies_s: How long each took.
        elapsed_s: Seconds from the first one sent to the last one answered.
        cpu_s: CPU time that the target took meanwhile.

    Example:
        >>> leg([0.25, 0.5, 0.75], elapsed_s=1.5, cpu_s=0.75)
        Leg(calls=3, calls_per_s=2.0, p50_s=0.5, p99_s=0.745, cpu_s=0.25)
    """
    p50, p99 = np.quantile(np.asarray(latencies_s), [0.5, 0.99])
    calls = len(latencies_s)
    return Leg(calls, calls / elapsed_s, float(p50), float(p99), cpu_s / calls)


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and greatest.

    Example:
        >>> spread([3.0, 1.0, 2.0, 10.0])
        Spread(median=2.5, low=1.0, high=10.0)
    """
    return Spread(float(np.median(values)), min(values), max(values))


def ratios(values: Sequence[float], base: Sequence[float]) -> tuple[float, ...]:
    """Divide each round's value by the same round's base.

    Raises:
        ValueError: If the rounds differ in number.

    Example:
        >>> ratios([2.0, 9.0], [1.0, 3.0])
        (2.0, 3.0)
    """
    return tuple(value / of for value, of in zip(values, base, strict=True))


def results(legs: Mapping[Case, Mapping[str, Sequence[Leg]]]) -> tuple[Result, ...]:
    """Sum up legs by case and target, in that order; each case needs :data:`BASE` among its targets."""
    return tuple(
        Result(
            case,
            target,
            {figure: spread(_of(figure, own)) for figure in FIGURES},
            {figure: spread(ratios(_of(figure, own), _of(figure, by[BASE]))) for figure in FIGURES},
            tuple(own),
        )
        for case, by in legs.items()
        for target, own in by.items()
    )


def _of(figure: str, legs: Sequence[Leg]) -> list[float]:
    return [getattr(leg, figure) for leg in legs]
