"""What is counted: requests, errors by reason, latencies, degraded answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

if TYPE_CHECKING:
    from gateway.values import Report

__all__ = ["Metrics"]

# a second series for every counter, which no dashboard reads
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library does not annotate it

#: Bucket bounds in seconds, from a tiny model in process to a large one under load.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one gateway process. Label values come from the configuration, never from callers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._children: dict[tuple[Any, ...], Any] = {}
        self._requests = Counter(
            "accord_requests",
            "Requests answered, by gRPC status and reason (empty when OK).",
            ["name", "method", "code", "reason"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "accord_request_seconds",
            "Time from arrival to answer.",
            ["name", "method"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._degraded = Counter(
            "accord_degraded", "Answers that lack a member.", ["name"], registry=self._registry
        )
        self._members = Counter(
            "accord_member_outcomes",
            "What became of each seat, by outcome and cause (empty when OK).",
            ["name", "seat", "outcome", "cause"],
            registry=self._registry,
        )
        self._member_seconds = Histogram(
            "accord_member_seconds",
            "Time from asking a seat to its answer.",
            ["name", "seat"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._batch_rows = Histogram(
            "accord_batch_rows",
            "Rows of the batches that requests rode in.",
            ["name"],
            buckets=_ROWS,
            registry=self._registry,
        )
        self._batch_wait = Histogram(
            "accord_batch_wait_seconds",
            "How long the first request of a batch waited until it left.",
            ["name"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._in_flight = Gauge("accord_in_flight", "Calls in flight.", registry=self._registry)
        self._ready = Gauge(
            "accord_replicas_ready", "Replicas that are ready, by model.", ["model"], registry=self._registry
        )

    def request(self, name: str, method: str, code: str, reason: str, elapsed_s: float) -> None:
        """Count one finished request."""
        self._child(self._requests, name, method, code, reason).inc()
        self._child(self._seconds, name, method).observe(elapsed_s)

    def batch(self, name: str, rows: int, waited_s: float) -> None:
        """Count a batch that leaves, and how long its first request waited for that."""
        self._child(self._batch_rows, name).observe(rows)
        self._child(self._batch_wait, name).observe(waited_s)

    def report(self, name: str, report: Report, riders: int) -> None:
        """Count what the seats did for one reply to some riders."""
        if report.degraded:
            self._child(self._degraded, name).inc(riders)
        for seat in report.seats:
            cause = seat.cause.name if seat.cause else ""
            self._child(self._members, name, seat.seat, seat.outcome.value, cause).inc(riders)
            if seat.elapsed_s is not None:
                self._child(self._member_seconds, name, seat.seat).observe(seat.elapsed_s)

    def in_flight(self, count: int) -> None:
        """Set the number of calls in flight."""
        self._in_flight.set(count)

    def replicas_ready(self, model: str, count: int) -> None:
        """Set how many replicas of a model are ready."""
        self._ready.labels(model).set(count)

    def _child(self, metric: Any, *labels: str) -> Any:
        """Return the series of some labels; the library's own look-up takes a lock and builds a key."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def exposition(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry).decode()
