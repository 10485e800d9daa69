"""Which requests run next, by Triton's rules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from workers.model.scheduling import QueuePolicy, Scheduling
from workers.schedule import Entry, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable

DELAY_S = 0.25


def entry(item: str, rows: int = 1, arrived: float = 0.0, **more: Any) -> Entry[str]:
    return Entry(item=item, rows=rows, arrived=arrived, **{"group": "g", **more})


def schedule(
    *entries: Entry[str], max_rows: int = 8, max_queued: int = 64, **scheduling: Any
) -> Schedule[str]:
    made = Schedule[str](Scheduling(**scheduling), max_rows=max_rows, max_queued=max_queued)
    assert all(made.add(each, free=False) for each in entries)
    return made


def names(entries: Iterable[Entry[str]]) -> str:
    return "".join(each.item for each in entries)


@pytest.mark.parametrize(
    ("preferred", "rows", "delay_s", "age_s", "runs"),
    [
        # without a delay, what waits and fits runs
        ((), [1, 1, 1], 0, 0, 3),
        ((), [5, 3, 1], 0, 0, 2),
        ((), [5, 4, 1], 0, 0, 1),
        ((), [8, 1], 0, 0, 1),
        # the longest beginning of a preferred size, else the whole
        ((4,), [1, 1], 0, 0, 2),
        ((4,), [1, 1, 1, 1, 1], 0, 0, 4),
        ((2, 4), [1, 1, 1], 0, 0, 2),
        ((2, 4), [1, 1, 2, 3], 0, 0, 3),
        ((2,), [1, 1, 1, 1], 0, 99, 2),
        # going beyond the largest preferred size, the last one below it
        ((4,), [3, 3], 0, 0, 1),
        ((4,), [1, 1, 3, 1], 0, 0, 2),
        ((4,), [6], 0, 0, 1),
        ((4,), [6, 2], 0, 0, 1),
        # with a delay, a batch that may grow waits for it
        ((), [1, 1], DELAY_S, 0, 0),
        ((), [1, 1], DELAY_S, DELAY_S, 2),
        ((), [4, 4], DELAY_S, 0, 2),
        ((), [5, 4], DELAY_S, 0, 1),
        ((4,), [1, 1], DELAY_S, 0, 0),
        ((4,), [1, 1, 1, 1, 1], DELAY_S, 0, 4),
        ((4,), [6], DELAY_S, 0, 1),
        ((4,), [3, 3], DELAY_S, 0, 1),
        # past the delay, all that fits, preferred or not
        ((4,), [1, 1, 1, 1, 1], DELAY_S, DELAY_S, 5),
        ((4,), [3, 3], DELAY_S, DELAY_S, 2),
        ((4,), [3, 3, 3], DELAY_S, DELAY_S, 2),
    ],
)
def test_the_batch_is_the_one_that_triton_would_run(
    preferred: tuple[int, ...], rows: list[int], delay_s: float, age_s: float, runs: int
) -> None:
    """Preferred sizes, the largest size and the delay decide how much of the queue runs now."""
    entries = [entry(chr(97 + i), each) for i, each in enumerate(rows)]
    waiting = schedule(*entries, preferred_rows=frozenset(preferred), max_delay_s=delay_s)
    decision = waiting.decide(age_s, free=True)
    assert decision.run == entries[:runs]
    assert len(waiting) == len(rows) - runs
    assert decision.wake_at == (math.inf if runs else DELAY_S)


def test_a_waiting_batch_says_when_it_is_due() -> None:
    """At that time it runs, and an earlier look changes nothing."""
    waiting = schedule(entry("a", arrived=1.0), entry("b", arrived=1.1), max_delay_s=DELAY_S)
    assert waiting.decide(1.1, free=True).wake_at == 1.0 + DELAY_S
    assert names(waiting.decide(1.0 + DELAY_S, free=True).run) == "ab"


def test_what_was_gathered_waits_for_nobody() -> None:
    """It has waited for its company already; who came alone waits, and goes along when it comes."""
    waiting = schedule(entry("a", gathered=True), max_delay_s=DELAY_S)
    assert names(waiting.decide(0.0, free=True).run) == "a"
    waiting = schedule(entry("a"), max_delay_s=DELAY_S)
    assert names(waiting.decide(0.0, free=True).run) == ""
    assert waiting.add(entry("b", arrived=0.1, gathered=True), free=True)
    assert names(waiting.decide(0.1, free=True).run) == "ab"


def test_the_delay_never_makes_a_request_late() -> None:
    """A batch whose rider would be late by then runs at once: the model is free."""
    waiting = schedule(entry("a"), entry("b", deadline=DELAY_S), max_delay_s=DELAY_S)
    assert names(waiting.decide(0.0, free=True).run) == "ab"
    assert not schedule(entry("a", deadline=2 * DELAY_S), max_delay_s=DELAY_S).decide(0.0, free=True).run


def test_a_busy_model_gets_nothing() -> None:
    """Only those who are late are found meanwhile, each at its own time."""
    waiting = schedule(entry("a", deadline=3.0), entry("b", deadline=1.0), entry("c", deadline=2.0))
    found = []
    for now in (0.5, 1.0, 2.0):
        decision = waiting.decide(now, free=False)
        found.append((names(decision.run), names(decision.late), decision.wake_at))
    assert found == [("", "", 1.0), ("", "b", 2.0), ("", "c", 3.0)]


def test_only_what_has_one_group_shares_a_batch() -> None:
    """Who does not fit ends the batch, so nobody is overtaken; who has no group runs alone."""
    entries = [entry("a"), entry("b"), entry("c", group="h"), entry("d"), entry("e", group=None), entry("f")]
    waiting = schedule(*entries)
    assert [names(waiting.decide(0.0, free=True).run) for _ in range(6)] == ["ab", "c", "d", "e", "f", ""]


def test_what_runs_alone_waits_for_no_company() -> None:
    """A delay is for company that may come."""
    assert names(schedule(entry("a", group=None), max_delay_s=DELAY_S).decide(0.0, free=True).run) == "a"


def test_a_request_without_rows_takes_a_place_but_no_row() -> None:
    """It runs, alone or not, and the others keep their places."""
    waiting = schedule(entry("a", rows=0, group=None), entry("b", rows=8))
    assert [names(waiting.decide(0.0, free=True).run) for _ in range(3)] == ["a", "b", ""]


def test_higher_levels_go_first() -> None:
    """Within a level, and among those of the default level, the order is that of arrival."""
    asked = [("a", 3), ("b", 0), ("c", 1), ("d", 2), ("e", 9), ("f", 1)]
    entries = [entry(item, priority=priority) for item, priority in asked]
    assert names(schedule(*entries, levels=3, default_level=2).decide(0.0, free=True).run) == "cfbdea"
    assert names(schedule(*entries).decide(0.0, free=True).run) == "abcdef"


def test_a_queue_timeout_refuses() -> None:
    """It counts from arrival, also while the model is busy."""
    waiting = schedule(entry("a"), entry("b", arrived=0.5), policy=QueuePolicy(timeout_s=1.0))
    assert waiting.decide(0.5, free=False).wake_at == 1.0
    decision = waiting.decide(1.0, free=True)
    assert (names(decision.late), names(decision.run)) == ("a", "b")


def test_a_queue_timeout_may_put_back() -> None:
    """Behind those of its level that are in time, before the levels below, and until its deadline."""
    slow = {1: QueuePolicy(timeout_s=1.0, puts_back=True)}
    entries = [
        entry("a", priority=1),
        entry("b", priority=1, deadline=2.0),
        entry("c", arrived=0.5, priority=1),
        entry("d", arrived=0.5, priority=2),
    ]
    waiting = schedule(*entries, levels=2, default_level=2, policies=slow, max_rows=1)
    assert names(waiting.decide(1.0, free=True).run) == "c"
    decision = waiting.decide(2.0, free=False)
    assert (names(decision.late), decision.wake_at) == ("b", math.inf)
    assert [names(waiting.decide(2.0, free=True).run) for _ in range(2)] == ["a", "d"]


def test_a_full_queue_takes_nobody() -> None:
    """An idle model takes one, whatever the size; who leaves makes room."""
    none = Schedule[str](Scheduling(), max_rows=8, max_queued=0)
    assert not none.add(entry("a"), free=False)
    assert none.add(entry("a"), free=True)
    assert not none.add(entry("b"), free=True)
    one = schedule(first := entry("a"), max_queued=1)
    assert not one.add(entry("b"), free=False)
    one.discard(first)
    assert one.add(entry("b"), free=False)


def test_a_level_that_is_full_leaves_room_in_the_others() -> None:
    """``max_queue_size`` counts per level, those put back included; 0 is no bound."""
    small = {1: QueuePolicy(max_size=2, timeout_s=1.0, puts_back=True)}
    waiting = schedule(levels=2, default_level=2, policies=small)
    assert [waiting.add(entry("a", priority=1), free=False) for _ in range(3)] == [True, True, False]
    waiting.decide(1.0, free=False)
    assert not waiting.add(entry("b", priority=1), free=False)
    assert waiting.add(entry("c", priority=2), free=False)
    assert len(waiting) == 3


def test_an_empty_queue_wakes_nobody() -> None:
    """Neither for those who were late, nor for those who ran or left before their time."""
    waiting = schedule(entry("a", priority=1, deadline=1.0), levels=2, default_level=2)
    assert waiting.decide(1.0, free=False).wake_at == math.inf
    waiting.add(entry("b", deadline=9.0), free=True)
    assert waiting.decide(1.0, free=True).wake_at == math.inf
    waiting.add(last := entry("c", deadline=9.0), free=False)
    waiting.discard(last)
    assert waiting.decide(1.0, free=True).wake_at == math.inf


def test_dropping_what_is_not_there_is_nothing() -> None:
    """Neither a stranger nor one that has run disturbs the queue."""
    waiting = schedule(entry("a"))
    waiting.decide(0.0, free=True)
    waiting.discard(entry("a"))
    assert len(waiting) == 0
    assert waiting.decide(1.0, free=True).wake_at == math.inf
