"""Statistics of a model: the laws that its sums keep, whatever happens in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import oip
from protos.oip import Statistics

KINDS = ("input_s", "infer_s", "output_s")
COMPUTE = ("compute_input", "compute_infer", "compute_output")

SECONDS = st.floats(0, 1e4)
COMPUTED = st.fixed_dictionaries(dict.fromkeys(KINDS, SECONDS))
BATCHES = st.lists(
    st.tuples(
        st.lists(st.integers(1, 4), min_size=1, max_size=4),  # the rows of each rider
        COMPUTED,
        st.booleans(),  # whether its riders were answered
    ),
    max_size=8,
)


def run(statistics: Statistics, batches: list[Any]) -> None:
    for riders, computed, answered in batches:
        if answered:
            statistics.executed(sum(riders), **computed)
        for rows in riders:
            if answered:
                total_s = 0.5 + sum(computed.values())
                statistics.succeeded(rows, total_s=total_s, queue_s=0.5, **computed)
            else:
                statistics.failed(0.25)


def numbers(message: Any) -> dict[str, int]:
    """All counters of a message by path."""
    found: dict[str, int] = {}
    for field, value in message.ListFields():
        if field.name == "batch_stats":
            for batch in value:
                deeper = numbers(batch)
                deeper.pop("batch_size")
                found |= {f"batch {batch.batch_size} {path}": n for path, n in deeper.items()}
        elif field.message_type:
            found |= {f"{field.name} {path}": n for path, n in numbers(value).items()}
        elif isinstance(value, int):
            found[field.name] = value
    return found


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


@given(BATCHES)
def test_batches_add_up_to_the_totals(batches: list[Any]) -> None:
    """Runs, rows and times of the batch sizes sum to what was executed and answered."""
    statistics = Statistics(now_s=lambda: 12.3456)
    run(statistics, batches)
    message = statistics.message("m", "3")
    ran = [(sum(riders), computed) for riders, computed, answered in batches if answered]
    assert (message.name, message.version) == ("m", "3")
    assert message.execution_count == sum(b.compute_infer.count for b in message.batch_stats) == len(ran)
    assert message.inference_count == sum(b.batch_size * b.compute_infer.count for b in message.batch_stats)
    for name, kind in zip(COMPUTE, KINDS, strict=True):
        measured = sum(ns(computed[kind]) for _, computed in ran)
        assert sum(getattr(b, name).ns for b in message.batch_stats) == measured
    assert [b.batch_size for b in message.batch_stats] == sorted({rows for rows, _ in ran})
    assert message.last_inference == (12345 if ran else 0)


@given(BATCHES)
def test_requests_are_charged_the_whole_times_of_their_batch(batches: list[Any]) -> None:
    """Success, queue and compute count the same requests; failures are counted apart and only there."""
    statistics = Statistics()
    run(statistics, batches)
    stats = statistics.message("m", "").inference_stats
    answered = [computed for riders, computed, well in batches if well for _ in riders]
    failed = sum(len(riders) for riders, _, well in batches if not well)
    assert {stats.success.count, stats.queue.count} == {len(answered)}
    assert (stats.fail.count, stats.fail.ns) == (failed, failed * ns(0.25))
    assert stats.queue.ns == len(answered) * ns(0.5)
    for name, kind in zip(COMPUTE, KINDS, strict=True):
        duration = getattr(stats, name)
        assert (duration.count, duration.ns) == (len(answered), sum(ns(c[kind]) for c in answered))
    assert not stats.HasField("cache_hit")


@given(BATCHES, BATCHES, st.floats(0, 2e9), st.floats(0, 2e9))
def test_no_counter_ever_falls(first: list[Any], more: list[Any], then_s: float, now_s: float) -> None:
    """Two samples can be subtracted, even where the wall clock was set back between them."""
    clock = [then_s]
    statistics = Statistics(now_s=lambda: clock[0])
    run(statistics, first)
    before = numbers(statistics.message("m", "1"))
    clock[0] = now_s
    run(statistics, more)
    after = numbers(statistics.message("m", "1"))
    assert all(after[path] >= value for path, value in before.items())


@given(st.lists(st.tuples(st.integers(0, 2), BATCHES), max_size=6))
def test_processes_that_each_count_their_part_add_up_to_one_that_counts_all(parts: list[Any]) -> None:
    """Whoever counted what: the sum of their responses is the response of one."""
    whole = Statistics(now_s=lambda: 1.0)
    shares = [Statistics(now_s=lambda: 1.0) for _ in range(3)]
    for process, batches in parts:
        run(shares[process], batches)
        run(whole, batches)
    responses = [oip.statistics_response([("m", "1", share)]) for share in shares]
    summed = oip.sum_statistics(responses)
    assert numbers(summed.model_stats[0]) == numbers(whole.message("m", "1"))
    assert [b.batch_size for b in summed.model_stats[0].batch_stats] == [
        b.batch_size for b in whole.message("m", "1").batch_stats
    ]


def test_a_sum_is_of_what_was_asked_for() -> None:
    """Of a name and a version, or any; what only one process knows is told as well."""
    idle = Statistics()
    here = oip.statistics_response([("a", "1", idle), ("b", "1", idle)])
    there = oip.statistics_response([("a", "2", idle), ("a", "1", idle)])

    def told(name: str = "", version: str = "") -> list[tuple[str, str]]:
        return [(m.name, m.version) for m in oip.sum_statistics([here, there], name, version).model_stats]

    assert told() == [("a", "1"), ("b", "1"), ("a", "2")]
    assert told("a") == [("a", "1"), ("a", "2")]
    assert told("a", "2") == [("a", "2")]
    assert told("c") == []


def test_times_below_zero_count_as_none() -> None:
    """A clock that is read in the wrong order neither breaks the answer nor takes time away."""
    statistics = Statistics()
    statistics.failed(1.0)
    statistics.failed(-1e-9)
    message = statistics.message("m", "1")
    assert (message.inference_stats.fail.count, message.inference_stats.fail.ns) == (2, 10**9)


def test_a_response_lists_models_in_the_order_given() -> None:
    """One entry for each version, each with its own record; a model never asked is listed with zeros."""
    busy, idle = Statistics(now_s=lambda: 1.0), Statistics()
    busy.executed(1, input_s=0.0, infer_s=1.0, output_s=0.0)
    response = oip.statistics_response([("a", "1", busy), ("a", "2", idle), ("b", "1", idle)])
    assert [(m.name, m.version, m.execution_count, m.last_inference) for m in response.model_stats] == [
        ("a", "1", 1, 1000),
        ("a", "2", 0, 0),
        ("b", "1", 0, 0),
    ]


@pytest.mark.parametrize("field", ["memory_usage", "response_stats"])
def test_what_is_not_measured_is_not_told(field: str) -> None:
    """Fields of Triton's that we have no figures for stay empty."""
    assert not getattr(Statistics().message("m", "1"), field)
