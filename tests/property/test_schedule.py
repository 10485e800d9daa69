"""Whoever comes, goes and waits: each request has one fate, by the rules and in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import event, given, settings
from hypothesis import strategies as st

from workers.model.scheduling import QueuePolicy, Scheduling
from workers.schedule import Entry, Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn

MAX_ROWS = 8
#: Times are whole ticks, so that events often fall together.
ticks = st.integers(1, 12).map(float)
seldom = st.sampled_from([math.inf] * 4 + [1.0, 2.0, 3.0, 5.0, 8.0])
arrivals = st.sampled_from([24, 16, 8, 4, 2, 1, 0]).flatmap(
    lambda size: st.lists(st.integers(0, 12).map(float), min_size=size, max_size=size)
)
policies = st.builds(
    QueuePolicy,
    timeout_s=st.none() | st.none() | ticks,
    puts_back=st.booleans(),
    allows_override=st.booleans(),
    max_size=st.sampled_from([0, 0, 1, 3]),
)
schedulings = st.builds(
    Scheduling,
    preferred_rows=st.frozensets(st.integers(1, MAX_ROWS), max_size=3),
    max_delay_s=st.sampled_from([0.0, 0.0, 2.0, 5.0]),
    levels=st.sampled_from([0, 0, 2]),
    default_level=st.integers(1, 2),
    policy=policies,
    policies=st.dictionaries(st.integers(1, 2), policies),
)


@dataclass(frozen=True)
class Guest:
    """A request to come, and when it goes away if it still waits."""

    entry: Entry[int]
    leaves: float


@st.composite
def guests(draw: DrawFn) -> list[Guest]:
    made = []
    for number, arrived in enumerate(sorted(draw(arrivals))):
        entry = Entry(
            item=number,
            rows=draw(st.sampled_from([1, 1, 1, 2, 3, MAX_ROWS])),
            arrived=arrived,
            group=draw(st.sampled_from(["g"] * 8 + ["h", None])),
            deadline=arrived + draw(seldom),
            priority=draw(st.integers(0, 3)),
            timeout_s=draw(st.none() | ticks),
        )
        made.append(Guest(entry, arrived + draw(seldom)))
    return made


@dataclass
class World:
    """A model whose runs take the given times, one after the other, in front of which the guests wait."""

    scheduling: Scheduling
    schedule: Schedule[int]
    runs_s: Sequence[float]
    now: float = 0.0
    free_at: float = 0.0
    batches: list[tuple[float, Sequence[Entry[int]]]] = field(default_factory=list)
    late: list[tuple[float, Entry[int]]] = field(default_factory=list)
    gone: list[Entry[int]] = field(default_factory=list)
    refused: list[Entry[int]] = field(default_factory=list)
    waiting: dict[Entry[int], None] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        return self.now >= self.free_at

    def live(self, guests: Sequence[Guest]) -> None:
        """Let everything happen at its time; at one time: ends of runs, arrivals, departures."""
        to_come = [(guest.entry.arrived, 1, guest) for guest in guests]
        to_go = [(guest.leaves, 2, guest) for guest in guests if guest.leaves < math.inf]
        happenings = sorted([*to_come, *to_go], key=lambda each: (each[0], each[1], each[2].entry.item))
        wake_at = math.inf
        while happenings or self.waiting:
            running = self.free_at if self.free_at > self.now else math.inf
            self.now = min(happenings[0][0] if happenings else math.inf, wake_at, running)
            assert self.now < math.inf, "somebody waits for nothing"
            if happenings and happenings[0][0] == self.now:
                _, kind, guest = happenings.pop(0)
                self.come(guest.entry) if kind == 1 else self.go(guest.entry)
            wake_at = self.decide()

    def come(self, entry: Entry[int]) -> None:
        if self.schedule.add(entry, free=self.free):
            self.waiting[entry] = None
        else:
            self.refused.append(entry)

    def go(self, entry: Entry[int]) -> None:
        if entry in self.waiting:
            del self.waiting[entry]
            self.gone.append(entry)
            self.schedule.discard(entry)

    def decide(self) -> float:
        due = self.expected() if self.free else None
        decision = self.schedule.decide(self.now, free=self.free)
        for entry in decision.late:
            del self.waiting[entry]
            self.late.append((self.now, entry))
        if due is not None:
            assert list(decision.run) == due
        if decision.run:
            assert self.free
            self.batches.append((self.now, decision.run))
            for entry in decision.run:
                del self.waiting[entry]
            self.free_at = self.now + self.runs_s[len(self.batches) % len(self.runs_s)]
            if self.free:
                return self.decide()
        assert decision.wake_at > self.now
        assert len(self.schedule) == len(self.waiting)
        return decision.wake_at

    def ends(self, entry: Entry[int]) -> float:
        """When its queue timeout is over."""
        policy = self.policy(entry)
        timeout_s = policy.timeout_of(entry.timeout_s)
        return math.inf if timeout_s is None else entry.arrived + timeout_s

    def policy(self, entry: Entry[int]) -> QueuePolicy:
        return self.scheduling.policy_of(self.scheduling.level_of(entry.priority))

    def put_back(self, entry: Entry[int]) -> bool:
        return self.policy(entry).puts_back and self.ends(entry) <= self.now

    def expected(self) -> list[Entry[int]]:
        """Say which batch is due, by the words of the rules instead of a walk."""
        timely = [
            entry
            for entry in self.waiting
            if entry.deadline > self.now and (self.policy(entry).puts_back or self.ends(entry) > self.now)
        ]
        key = {
            entry: (
                self.scheduling.level_of(entry.priority),
                self.put_back(entry),
                self.ends(entry) if self.put_back(entry) else 0,
            )
            for entry in timely
        }
        order = sorted(timely, key=key.__getitem__)
        sums = [sum(entry.rows for entry in order[: i + 1]) for i in range(len(order))]
        alike = [entry.group is not None and entry.group == order[0].group for entry in order]
        fits = [i + 1 for i, rows in enumerate(sums) if i == 0 or (rows <= MAX_ROWS and all(alike[: i + 1]))]
        if not fits:
            return []
        batch = order[: fits[-1]]
        preferred = self.scheduling.preferred_rows or {MAX_ROWS}
        oldest = min(entry.arrived for entry in batch)
        delay_s = self.scheduling.max_delay_s
        overdue = 0 < delay_s <= self.now - oldest
        exact = [count for count in fits if sums[count - 1] in preferred]
        below = [count for count in fits if count < len(order) and sums[count] > max(preferred)]
        if not overdue and (exact or below):
            return order[: exact[-1] if exact else below[0]]
        cannot_grow = len(batch) < len(order) or sums[len(batch) - 1] >= max(preferred) or not alike[0]
        would_be_late = min(entry.deadline for entry in batch) <= oldest + delay_s
        return batch if overdue or not delay_s or cannot_grow or would_be_late else []


@settings(max_examples=400, deadline=None)
@given(schedulings, guests(), st.lists(ticks, min_size=1, max_size=5), st.sampled_from([64, 64, 5, 2, 0]))
def test_each_request_has_one_fate_and_it_is_the_right_one(
    scheduling: Scheduling, guests: list[Guest], runs_s: list[float], max_queued: int
) -> None:
    """Every decision is the rules'; nobody is lost, late without cause, run too late, or overtaken."""
    schedule = Schedule[int](scheduling, max_rows=MAX_ROWS, max_queued=max_queued)
    world = World(scheduling, schedule, runs_s)
    world.live(guests)

    run = [entry for _, batch in world.batches for entry in batch]
    fates = [*run, *(entry for _, entry in world.late), *world.gone, *world.refused]
    assert sorted(entry.item for entry in fates) == [guest.entry.item for guest in guests]
    event(f"largest batch {max((len(batch) for _, batch in world.batches), default=0)}")
    event(f"late: {bool(world.late)}, refused: {bool(world.refused)}, gone: {bool(world.gone)}")

    for at, batch in world.batches:
        assert sum(entry.rows for entry in batch) <= MAX_ROWS
        assert len(batch) == 1 or len({entry.group for entry in batch} - {None}) == 1
        for entry in batch:
            assert at < entry.deadline
            assert world.policy(entry).puts_back or at < world.ends(entry)
    for at, entry in world.late:
        reject = math.inf if world.policy(entry).puts_back else world.ends(entry)
        assert at == min(entry.deadline, reject)
    for level in {scheduling.level_of(entry.priority) for entry in run}:
        in_time = [
            entry.item
            for at, batch in world.batches
            for entry in batch
            if scheduling.level_of(entry.priority) == level and at < world.ends(entry)
        ]
        assert in_time == sorted(in_time)


@settings(max_examples=200, deadline=None)
@given(schedulings, guests())
def test_a_model_that_is_always_free_keeps_nobody_longer_than_the_delay(
    scheduling: Scheduling, guests: list[Guest]
) -> None:
    """Without a delay, whoever comes to an idle model is run at once."""
    world = World(scheduling, Schedule[int](scheduling, max_rows=MAX_ROWS, max_queued=64), [0.0])
    world.live(guests)
    for at, batch in world.batches:
        assert all(at - entry.arrived <= scheduling.max_delay_s for entry in batch)


@settings(max_examples=200, deadline=None)
@given(guests(), st.lists(ticks, min_size=1, max_size=5))
def test_without_scheduling_everyone_runs_alone_in_order_of_arrival(
    guests: list[Guest], runs_s: list[float]
) -> None:
    """Requests of no group are never together, and a free model never keeps one waiting."""
    world = World(Scheduling(), Schedule[int](Scheduling(), max_rows=0, max_queued=64), runs_s)
    for guest in guests:
        object.__setattr__(guest.entry, "group", None)
    world.live(guests)
    order = [entry.item for _, batch in world.batches for entry in batch]
    assert order == sorted(order)
    assert all(len(batch) == 1 for _, batch in world.batches)
