"""What everything that is served has done so far, for the protocol's statistics.

An answer's time is wall time, and its parts are those of the critical path: what the member that came last
spent in its queue and on its computation, then the merge. Everything else, the edge and the wire, is the time
to prepare inputs. So the parts add up to the whole however many members were asked at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protos.oip import Statistics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.values import Report

__all__ = ["Ledger"]


class Ledger:
    """The statistics of every ensemble and model, by name and version, since the gateway started."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Statistics] = {}

    def executed(self, name: str, version: str, rows: int, total_s: float, report: Report) -> None:
        """Record that a batch was answered.

        Args:
            name: Who answered.
            version: Its version.
            rows: Rows of the batch.
            total_s: Seconds from its departure.
            report: How the answer came about.
        """
        times = _parts(total_s, report)
        self._entry(name, version).executed(
            rows, input_s=times.input_s, infer_s=times.infer_s, output_s=times.merge_s
        )

    def answered(self, name: str, version: str, rows: int, total_s: float, report: Report) -> None:
        """Record an answer.

        Args:
            name: Who answered.
            version: Its version.
            rows: Rows of the request.
            total_s: Seconds from the request's arrival.
            report: How the answer came about.
        """
        times = _parts(total_s, report)
        self._entry(name, version).succeeded(
            rows,
            total_s=total_s,
            queue_s=times.queue_s,
            input_s=times.input_s,
            infer_s=times.infer_s,
            output_s=times.merge_s,
        )

    def failed(self, name: str, version: str, total_s: float) -> None:
        """Record that a request failed, ``total_s`` seconds after its arrival."""
        self._entry(name, version).failed(total_s)

    def entries(self, name: str = "", version: str = "") -> Iterator[tuple[str, str, Statistics]]:
        """Yield the statistics of one name and version; empty stands for any."""
        for (known, number), statistics in self._entries.items():
            if name in ("", known) and version in ("", number):
                yield known, number, statistics

    def know(self, name: str, version: str) -> None:
        """Have an entry for what has not been asked yet."""
        self._entry(name, version)

    def _entry(self, name: str, version: str) -> Statistics:
        return self._entries.setdefault((name, version), Statistics())


class _Parts(NamedTuple):
    """What an answer's time was spent on, in seconds."""

    queue_s: float
    input_s: float
    infer_s: float
    merge_s: float


def _parts(total_s: float, report: Report) -> _Parts:
    path = report.critical_path
    if path is None:
        return _Parts(0.0, total_s, 0.0, 0.0)
    queue_s, merge_s = path.queue_s or 0.0, path.merge_s
    infer_s = path.elapsed_s - queue_s if path.compute_s is None else path.compute_s
    return _Parts(queue_s, max(0.0, total_s - queue_s - infer_s - merge_s), infer_s, merge_s)
