"""Totals over processes that die: whatever happens in which order, none falls and none counts twice."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.observe.merge import Totals, merge, parse, total
from gateway.observe.metrics import Metrics

PROCESSES = ("g-0", "g-1", "g-2")
#: A process answers calls, or is replaced; all are asked, and some answer.
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("calls"), st.sampled_from(PROCESSES), st.integers(1, 3)),
        st.tuples(st.just("dies"), st.sampled_from(PROCESSES), st.none()),
        st.tuples(st.just("scrape"), st.sets(st.sampled_from(PROCESSES)), st.none()),
    ),
    max_size=25,
)


@given(EVENTS)
def test_a_total_never_falls_and_misses_only_what_was_never_told(events: list[Any]) -> None:
    """Each scrape tells the sum, over all lives, of what each said last."""
    totals, pid = Totals(), 0
    lives: dict[str, tuple[int, Metrics, int]] = {name: (0, Metrics(), 0) for name in PROCESSES}
    told: dict[tuple[str, int], int] = {}
    before = 0.0
    for event, what, number in [*events, ("scrape", set(PROCESSES), None)]:
        if event == "calls":
            life, metrics, calls = lives[what]
            for _ in range(number):
                metrics.request("e", "Infer", "OK", "", 0.01)
            lives[what] = (life, metrics, calls + number)
        elif event == "dies":
            pid += 1
            lives[what] = (pid, Metrics(), 0)
        else:
            counted = []
            for name, (life, metrics, calls) in lives.items():
                answer = (life, metrics.exposition()) if name in what else None
                told |= {(name, life): calls} if answer else {}
                counted.append(totals.counted(name, answer))
            merged = merge((parse(c.living) for c in counted), (parse(c.past) for c in counted))
            now = total(merged, "accord_requests_total")
            assert now == sum(told.values()) == total(merged, "accord_request_seconds_count")
            assert now >= before
            before = now
