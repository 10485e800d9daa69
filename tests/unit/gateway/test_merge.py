"""Metrics of several processes in one exposition: what is summed, what is the least, what stays as it was."""

from __future__ import annotations

from gateway.observe.merge import Counted, Totals, merge, parse, render, total
from gateway.observe.metrics import Metrics
from gateway.observe.port import ServerStatus


def said(
    calls: int = 0, *, in_flight: int = 0, ready: int = 0, name: str = "e", seconds: float = 0.002
) -> str:
    """Return what a process says that answered so many calls."""
    metrics = Metrics()
    for _ in range(calls):
        metrics.request(name, "Infer", "OK", "", seconds)
    metrics.in_flight(in_flight)
    metrics.replicas_ready("m", ready)
    return metrics.exposition()


def lines(text: str) -> set[str]:
    return {line for line in text.splitlines() if not line.startswith("#")}


def merged(*living: str, past: tuple[str, ...] = ()) -> str:
    return render(merge(map(parse, living), map(parse, past)))


def test_one_process_says_what_it_always_said() -> None:
    """Byte for byte, whatever characters its labels hold."""
    text = said(3, in_flight=1, ready=2, name='a"\\\nb')
    assert merged(text) == text


def test_counters_and_histograms_are_summed_and_gauges_by_their_rule() -> None:
    """Calls in flight add up; of the replicas the least is told, because all ask the same ones."""
    text = merged(said(2, in_flight=3, ready=2), said(3, in_flight=4, ready=1, seconds=20.0))
    assert {
        'accord_requests_total{code="OK",method="Infer",name="e",reason=""} 5.0',
        'accord_request_seconds_bucket{le="0.0025",method="Infer",name="e"} 2.0',
        'accord_request_seconds_bucket{le="30.0",method="Infer",name="e"} 5.0',
        'accord_request_seconds_bucket{le="+Inf",method="Infer",name="e"} 5.0',
        'accord_request_seconds_count{method="Infer",name="e"} 5.0',
        'accord_request_seconds_sum{method="Infer",name="e"} 60.004',
        "accord_in_flight 7.0",
        'accord_replicas_ready{model="m"} 1.0',
    } <= lines(text)


def test_what_only_one_process_has_seen_is_there_whole() -> None:
    """A series of its own, its buckets in their order."""
    text = merged(said(1, name="a"), said(2, name="b"))
    buckets = [line for line in text.splitlines() if 'seconds_bucket{le="' in line and 'name="b"' in line]
    assert buckets == [line for line in said(2, name="b").splitlines() if "seconds_bucket" in line]
    assert 'accord_requests_total{code="OK",method="Infer",name="a",reason=""} 1.0' in text


def test_of_what_is_gone_only_sums_count() -> None:
    """Nobody is in flight in a process that ended, and it has no replicas."""
    text = merged(said(1, in_flight=1, ready=2), past=(said(5, in_flight=9, ready=0),))
    assert total(parse(text), "accord_requests_total") == 6
    assert {"accord_in_flight 1.0", 'accord_replicas_ready{model="m"} 2.0'} <= lines(text)


def test_a_process_that_is_replaced_keeps_what_it_counted() -> None:
    """Through the time without an answer, and after any number of lives."""
    totals = Totals()
    assert totals.counted("g", (1, said(5))) == Counted(said(5), "")
    silent = totals.counted("g", None)
    assert (silent.living, total(parse(silent.past), "accord_requests_total")) == ("", 5)
    for pid, calls, before in ((2, 0, 5), (3, 4, 5), (3, 6, 5), (4, 1, 11)):
        counted = totals.counted("g", (pid, said(calls)))
        assert counted.living == said(calls)
        assert total(parse(counted.past), "accord_requests_total") == before


def test_without_its_past_a_total_would_fall() -> None:
    """Negative control: what the living say is less after a replacement."""
    totals = Totals()
    totals.counted("g", (1, said(5)))
    assert total(parse(totals.counted("g", (2, said(1))).living), "accord_requests_total") == 1


def test_the_load_of_each_process_can_be_told_apart() -> None:
    """Connections are spread over the processes, not calls: who has most of them must be seen."""
    status = ServerStatus(
        ready=True,
        counted={
            "a": Counted(said(2, in_flight=1), said(3)),
            "b": Counted(said(7, in_flight=4)),
            "c": Counted(),
        },
        restarts={"a": 1, "b": 0, "c": 0},
        running={"a": True, "b": True, "c": False},
    )
    text = lines(status.exposition())
    assert {
        'accord_process_requests_total{process="a"} 5.0',
        'accord_process_requests_total{process="b"} 7.0',
        'accord_process_requests_total{process="c"} 0.0',
        'accord_process_in_flight{process="a"} 1.0',
        'accord_process_in_flight{process="b"} 4.0',
        'accord_process_up{process="c"} 0.0',
        'accord_requests_total{code="OK",method="Infer",name="e",reason=""} 12.0',
        "accord_in_flight 5.0",
    } <= text
    assert not any(line.startswith('accord_process_in_flight{process="c"}') for line in text)
