"""One exposition of the metrics of several processes.

- Counters and histograms are summed, over processes that are gone as well: a total never falls.
- Gauges are those of the processes that live: summed, but for those of which the least counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.samples import Sample

__all__ = ["Counted", "Totals", "merge", "parse", "render", "total"]

#: Gauges of which the least counts: what every process has, as all of them ask the same replicas.
_LEAST = {"accord_replicas_ready"}
_SUMMED = {"counter", "histogram"}


@dataclass(frozen=True, slots=True)
class Counted:
    """What one process has counted, in Prometheus' text format.

    Args:
        living: What it says now; empty = it does not answer.
        past: What it, while it does not answer, and those before it in its place said last.
    """

    living: str = ""
    past: str = ""


class Totals:
    """Remembers what each process said last, so that what it counted outlives it."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, str]] = {}
        self._past: dict[str, str] = {}

    def counted(self, process: str, answer: tuple[int, str] | None) -> Counted:
        """Take in what a process says, and return all that it has counted.

        Args:
            process: Its name; what is started in its place has the same.
            answer: Its process id and its exposition; None = it does not answer.
        """
        past = self._past.get(process, "")
        last = self._last.get(process)
        if answer is None:
            return Counted(past=_past(past, last[1]) if last else past)
        if last is not None and last[0] != answer[0]:
            past = self._past[process] = _past(past, last[1])
        self._last[process] = answer
        return Counted(answer[1], past)


def parse(text: str) -> list[Metric]:
    """Read an exposition."""
    return list(text_string_to_metric_families(text))


def render(families: Iterable[Metric]) -> str:
    """Write an exposition."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(families)))
    return generate_latest(registry).decode()


def merge(living: Iterable[Sequence[Metric]], past: Iterable[Sequence[Metric]] = ()) -> list[Metric]:
    r"""Merge the metrics of several processes.

    Args:
        living: Those of the processes that live.
        past: Those of processes that are gone, of which only what is summed counts.

    Example:
        >>> calls, now = "# TYPE calls_total counter\ncalls_total 2.0\n", "# TYPE now gauge\nnow 1.0\n"
        >>> merged = merge([parse(calls + now), parse(calls + now)], past=[parse(calls + now)])
        >>> total(merged, "calls_total"), total(merged, "now")
        (6.0, 2.0)
    """
    merged: dict[str, Metric] = {}
    samples: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], Sample]] = {}
    for families, lives in [*((found, True) for found in living), *((found, False) for found in past)]:
        for family in families:
            merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            known = samples.setdefault(family.name, {})
            if not (lives or family.type in _SUMMED):
                continue
            join = min if family.name in _LEAST else add
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                value = join(known[key].value, sample.value) if key in known else sample.value
                known[key] = sample._replace(value=value)
    for name, family in merged.items():
        family.samples = list(samples[name].values())
    return list(merged.values())


def total(families: Iterable[Metric], sample: str) -> float:
    r"""Add up the samples of one name, whatever their labels.

    Example:
        >>> total(parse('# TYPE a_total counter\na_total{x="1"} 3.0\na_total{x="2"} 4.0\n'), "a_total")
        7.0
    """
    return sum(found.value for family in families for found in family.samples if found.name == sample)


def _past(*texts: str) -> str:
    """Return what counts of processes that are gone."""
    return render(merge([], past=map(parse, texts)))


@dataclass(slots=True, eq=False)
class _Collected(Collector):
    """Hands out families that were made elsewhere."""

    families: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families
