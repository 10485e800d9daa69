"""What a model version has done so far: Triton's statistics extension.

Rules:

- Everything counts up from the start of the server, times in whole nanoseconds.
- ``inference_count`` counts rows of requests that succeeded, ``execution_count`` runs of batches. Requests
  that rode in one batch are each charged the whole times of that batch, so only ``batch_stats``, one entry
  for each batch size that was run, says how long the model was busy.
- ``success``, ``queue`` and ``compute_*`` count requests that succeeded; ``fail`` counts all others, from
  arrival to refusal or until their caller went away, and their rows count nowhere.
- There is no response cache, and no estimate of memory: those fields stay empty.

Sources: Triton "Statistics" extension; Triton core ``infer_stats.cc`` and ``tritonserver.cc``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from protos.oip.wire import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Statistics", "statistics_response", "sum_statistics"]


class _Times:
    """How often something was timed, and the sum of each of its times."""

    __slots__ = ("count", "ns")

    def __init__(self, kinds: int) -> None:
        self.count = 0
        self.ns = [0] * kinds

    def add(self, *seconds: float) -> None:
        self.count += 1
        for kind, value in enumerate(seconds):
            # a clock's jitter below zero must not make an unsigned sum fall
            self.ns[kind] += max(0, round(value * 1e9))

    def messages(self) -> list[Any]:
        return [messages.StatisticDuration(count=self.count, ns=ns) for ns in self.ns]


class Statistics:
    """The record of one model version. Recorded from one thread, like all that belongs to an event loop.

    Args:
        now_s: Source of the wall clock, in seconds since the epoch.

    Example:
        >>> statistics = Statistics(now_s=lambda: 1.5)
        >>> statistics.executed(2, input_s=0, infer_s=0.25, output_s=0)
        >>> statistics.succeeded(2, total_s=0.5, queue_s=0.25, input_s=0, infer_s=0.25, output_s=0)
        >>> message = statistics.message("digits", "1")
        >>> message.inference_count, message.execution_count, message.last_inference
        (2, 1, 1500)
    """

    __slots__ = ("_batches", "_failed", "_last_ms", "_now_s", "_rows", "_succeeded")

    def __init__(self, *, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._last_ms = 0
        self._rows = 0
        self._succeeded = _Times(5)
        self._failed = _Times(1)
        self._batches: dict[int, _Times] = {}

    def executed(self, rows: int, *, input_s: float, infer_s: float, output_s: float) -> None:
        """Record that a batch was run.

        Args:
            rows: Its size; 1 where the model does not batch.
            input_s: Seconds to prepare the inputs.
            infer_s: Seconds in the model.
            output_s: Seconds to take the outputs out.
        """
        self._last_ms = max(self._last_ms, int(self._now_s() * 1e3))
        times = self._batches.get(rows)
        if times is None:
            times = self._batches[rows] = _Times(3)
        times.add(input_s, infer_s, output_s)

    def succeeded(
        self, rows: int, *, total_s: float, queue_s: float, input_s: float, infer_s: float, output_s: float
    ) -> None:
        """Record that a request was answered.

        Args:
            rows: Its rows; 1 where the model does not batch.
            total_s: Seconds from its arrival to its answer.
            queue_s: Seconds that it waited for its batch to be run.
            input_s: The times of that batch, see :meth:`executed`.
            infer_s: Likewise.
            output_s: Likewise.
        """
        self._rows += rows
        self._succeeded.add(total_s, queue_s, input_s, infer_s, output_s)

    def failed(self, total_s: float) -> None:
        """Record that a request failed, ``total_s`` seconds after its arrival, for whatever reason."""
        self._failed.add(total_s)

    def message(self, name: str, version: str) -> Any:
        """Build the ``ModelStatistics`` of the version."""
        success, queue, *compute = self._succeeded.messages()
        (fail,) = self._failed.messages()
        return messages.ModelStatistics(
            name=name,
            version=version,
            last_inference=self._last_ms,
            inference_count=self._rows,
            execution_count=sum(times.count for times in self._batches.values()),
            inference_stats=messages.InferStatistics(
                success=success, fail=fail, queue=queue, **_named(compute)
            ),
            batch_stats=[
                messages.InferBatchStatistics(batch_size=rows, **_named(times.messages()))
                for rows, times in sorted(self._batches.items())
            ],
        )


def statistics_response(models: Iterable[tuple[str, str, Statistics]]) -> Any:
    """Build a ``ModelStatisticsResponse`` from (name, version, statistics) of the models asked for."""
    return messages.ModelStatisticsResponse(
        model_stats=[statistics.message(name, version) for name, version, statistics in models]
    )


def sum_statistics(responses: Iterable[Any], name: str = "", version: str = "") -> Any:
    """Add up the ``ModelStatisticsResponse`` of several processes that serve the same.

    Args:
        responses: Their responses.
        name: Of which model; empty stands for any.
        version: Of which version; likewise.
    """
    sums: dict[tuple[str, str], Any] = {}
    for response in responses:
        for model in response.model_stats:
            if name in ("", model.name) and version in ("", model.version):
                empty = messages.ModelStatistics(name=model.name, version=model.version)
                _add(sums.setdefault((model.name, model.version), empty), model)
    return messages.ModelStatisticsResponse(model_stats=sums.values())


def _add(into: Any, model: Any) -> None:
    into.last_inference = max(into.last_inference, model.last_inference)
    into.inference_count += model.inference_count
    into.execution_count += model.execution_count
    _add_durations(into.inference_stats, model.inference_stats)
    batches = {batch.batch_size: batch for batch in into.batch_stats}
    for batch in model.batch_stats:
        empty = messages.InferBatchStatistics(batch_size=batch.batch_size)
        _add_durations(batches.setdefault(batch.batch_size, empty), batch)
    del into.batch_stats[:]
    into.batch_stats.extend(batches[size] for size in sorted(batches))


def _add_durations(into: Any, message: Any) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None:
            duration = getattr(into, field.name)
            duration.count += value.count
            duration.ns += value.ns


def _named(compute: Iterable[Any]) -> dict[str, Any]:
    return dict(zip(("compute_input", "compute_infer", "compute_output"), compute, strict=True))
