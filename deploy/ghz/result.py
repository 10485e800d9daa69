"""What a run of ghz says, as values.

Source: ghz v0.121.0, ``runner/reporter.go``; durations there are in nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Run", "summarise"]

_NS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of ghz with one configuration.

    Args:
        name: The configuration's name.
        call: The method called.
        concurrency: Calls in flight at most.
        connections: Connections they were spread over.
        rate: Calls per second that were asked for; 0 = as fast as answers come.
        planned: Calls that the configuration asks for.
        statuses: Number of calls by gRPC status, in ghz's spelling (``OK``, ``Unavailable``).
        errors: Number of calls by error text; empty when all are OK.
        per_second: Calls per second that were reached.
        p50_s: Latency that half of the OK calls stayed within, in seconds; None without an OK call.
        p95_s: The same for 95 %.
        p99_s: The same for 99 %.
        slowest_s: Latency of the slowest OK call.
    """

    name: str
    call: str
    concurrency: int
    connections: int
    rate: int
    planned: int
    statuses: Mapping[str, int]
    errors: Mapping[str, int]
    per_second: float
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    slowest_s: float | None

    @property
    def calls(self) -> int:
        """Number of calls made."""
        return sum(self.statuses.values())

    @property
    def problem(self) -> str:
        """Why the run does not count as passed; empty when every planned call was made and is OK."""
        failed = self.calls - self.statuses.get("OK", 0)
        if failed:
            kinds = ", ".join(f"{status} {n}" for status, n in self.statuses.items() if status != "OK")
            first = max(self.errors, key=lambda text: self.errors[text], default="")
            return f"{failed} of {self.calls} calls failed: {kinds}" + (f" ({first})" if first else "")
        if self.calls != self.planned or not self.calls:
            return f"{self.calls} of {self.planned} planned calls were made"
        return ""


def summarise(report: Mapping[str, Any]) -> Run:
    """Read the report that ``ghz --format json`` writes.

    Latencies are those of OK calls only: that is how ghz counts by default.

    Raises:
        ValueError: If it is not such a report.

    Example:
        >>> run = summarise({
        ...     "name": "one", "options": {"call": "a.B/C", "total": 3}, "rps": 10.0, "slowest": 5_000_000,
        ...     "statusCodeDistribution": {"OK": 2, "Unavailable": 1}, "errorDistribution": {"gone": 1},
        ...     "latencyDistribution": [{"percentage": 50, "latency": 2_000_000}],
        ... })
        >>> run.p50_s, run.problem
        (0.002, '1 of 3 calls failed: Unavailable 1 (gone)')
    """
    try:
        options = report["options"]
        # ghz writes null for what it has not measured
        found = {p["percentage"]: p["latency"] / _NS for p in report["latencyDistribution"] or ()}
        return Run(
            name=report.get("name", ""),
            call=options["call"],
            concurrency=options.get("concurrency", 1),
            connections=options.get("connections", 1),
            rate=options.get("rps", 0),
            planned=options["total"],
            statuses=dict(report["statusCodeDistribution"] or {}),
            errors=dict(report["errorDistribution"] or {}),
            per_second=report["rps"],
            p50_s=found.get(50),
            p95_s=found.get(95),
            p99_s=found.get(99),
            slowest_s=report["slowest"] / _NS if found else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a report of ghz: {error!r}") from None
