"""From calls to figures: rates, quantiles, ratios within a round, and how far they spread.

A shared machine is faster in one minute than in the next, so figures of different minutes do not compare. In
every round each target is measured once, one right after the other, and is divided by the base target of
the same round; the median of these ratios, with the least and the greatest, is what is claimed.

A call counts when it ended inside the window and its status is OK; every other status is counted by name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "BASE",
    "FIGURES",
    "OK",
    "Call",
    "Leg",
    "Load",
    "Result",
    "Spread",
    "leg",
    "problem",
    "ratios",
    "results",
    "spread",
]

#: What everything is divided by.
BASE = "echo"
#: The fields of a :class:`Leg` that are reported.
FIGURES = ("calls_per_s", "p50_s", "p99_s", "p999_s", "cpu_s", "generator_cpu_s")
OK = "OK"
#: Fewer calls than this say nothing about one in a thousand.
ENOUGH_FOR_P999 = 5000


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of load.

    Args:
        name: How people read it.
        in_flight: Calls under way: always so many (closed loop), or at most (open loop).
        connections: Connections that they share.
        rate: Calls per second that are sent however fast answers come (open loop); 0 = closed loop.
    """

    name: str
    in_flight: int
    connections: int = 1
    rate: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as a load generator tells it.

    Args:
        ended_s: When its answer was there; from any moment, the same for all calls of a leg.
        took_s: How long it took.
        status: ``OK``, or what it was answered instead.
    """

    ended_s: float
    took_s: float
    status: str


@dataclass(frozen=True, slots=True)
class Leg:
    """One target, measured once.

    Args:
        calls: Calls that ended OK inside the window.
        calls_per_s: The same, per second.
        p50_s: Their median latency; None without a call.
        p99_s: The latency that 99 % of them do not exceed.
        p999_s: The same for 99.9 %; None where there are too few calls to tell.
        cpu_s: CPU time of all the target's processes for one call.
        generator_cpu_s: CPU time of the load generator for one call.
        failed: Calls inside the window that did not end OK, by status.
    """

    calls: int
    calls_per_s: float
    p50_s: float | None
    p99_s: float | None
    p999_s: float | None
    cpu_s: float | None
    generator_cpu_s: float | None
    failed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of one figure over all rounds, the least and the greatest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Result:
    """What all rounds say of one target under one load.

    Args:
        load: The load.
        target: Who answered.
        problem: What went wrong, for people; empty when every call ended OK.
        absolute: Each of :data:`FIGURES` that every round has.
        relative: Each of them divided by the base target's in the same round.
        legs: What they are made of, round by round.
    """

    load: Load
    target: str
    problem: str
    absolute: Mapping[str, Spread]
    relative: Mapping[str, Spread]
    legs: tuple[Leg, ...]


def leg(
    calls: Sequence[Call], *, lead_s: float, window_s: float, cpu_s: float = 0.0, generator_cpu_s: float = 0.0
) -> Leg:
    """Sum up the calls of one run.

    What ends before the lead is over is warm-up, and what ends after the window met a falling load.

    Args:
        calls: All calls of the run.
        lead_s: Seconds after the first call was sent when the window opens.
        window_s: How long it stays open.
        cpu_s: CPU time that the target took for all of these calls.
        generator_cpu_s: CPU time that the load generator took.

    Example:
        >>> made = [Call(ended_s=i / 10, took_s=0.1, status="OK") for i in range(1, 31)]
        >>> found = leg(made, lead_s=1.0, window_s=1.0, cpu_s=0.6)
        >>> found.calls, found.calls_per_s, round(found.p50_s, 3), round(found.cpu_s, 3)
        (10, 10.0, 0.1, 0.02)
    """
    opens_s = min((call.ended_s - call.took_s for call in calls), default=0.0) + lead_s
    inside = [call for call in calls if opens_s < call.ended_s <= opens_s + window_s]
    took_s = np.asarray([call.took_s for call in inside if call.status == OK])
    p50_s, p99_s, p999_s = np.quantile(took_s, [0.5, 0.99, 0.999]).tolist() if len(took_s) else [None] * 3
    answered = sum(call.status == OK for call in calls)
    return Leg(
        calls=len(took_s),
        calls_per_s=len(took_s) / window_s,
        p50_s=p50_s,
        p99_s=p99_s,
        p999_s=p999_s if len(took_s) >= ENOUGH_FOR_P999 else None,
        cpu_s=cpu_s / answered if answered else None,
        generator_cpu_s=generator_cpu_s / answered if answered else None,
        failed=dict(Counter(call.status for call in inside if call.status != OK)),
    )


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


def results(legs: Mapping[Load, Mapping[str, Sequence[Leg]]], base: str = BASE) -> tuple[Result, ...]:
    """Sum up legs by load and target, in that order; each load needs the base among its targets."""
    return tuple(
        Result(
            load,
            target,
            problem(own),
            {name: spread(values) for name in FIGURES if (values := _of(name, own))},
            {
                name: spread(ratios(values, under))
                for name in FIGURES
                if (values := _of(name, own)) and (under := _of(name, by[base])) and min(under) > 0
            },
            tuple(own),
        )
        for load, by in legs.items()
        for target, own in by.items()
    )


def problem(legs: Iterable[Leg]) -> str:
    """Say which calls did not end OK; empty if all did.

    Example:
        >>> problem([Leg(7, 7.0, 0.1, 0.1, None, 0.1, 0.1, {"Unavailable": 3})])
        '3 of 10 calls failed: Unavailable 3'
    """
    failed: Counter[str] = Counter()
    answered = 0
    for each in legs:
        failed.update(each.failed)
        answered += each.calls
    if not failed:
        return "" if answered else "no call ended inside the window"
    kinds = ", ".join(f"{status} {count:,}" for status, count in failed.most_common())
    return f"{failed.total():,} of {failed.total() + answered:,} calls failed: {kinds}"


def _of(figure: str, legs: Sequence[Leg]) -> list[float]:
    """Return one figure of all rounds; nothing unless every round has it."""
    values = [getattr(each, figure) for each in legs if each.calls]
    return values if len(values) == len(legs) and None not in values else []
