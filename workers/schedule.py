"""Which requests a model runs next: Triton's dynamic batcher as a decision, without a clock or a thread.

Rules:

- Levels are served from 1 up. A level is served in order of arrival, what its timeout put back comes last.
- When the model is free, the batch is the longest beginning of that order that fits: rows add up to at most
  ``max_rows``, and all are of one group. A request of no group runs alone.
- If a beginning of it has a preferred number of rows, the longest such beginning runs at once. If none has,
  but it goes beyond the largest preferred number, the longest beginning below that number does.
- Otherwise the batch runs when it cannot grow any more, when its oldest request has waited for
  ``max_delay_s``, or when one of its requests would be late by then. Without a delay it runs at once, and so
  does what was gathered before: nothing waits twice for company.
- A request whose deadline has passed is late; one whose queue timeout has passed is late or put back. Both
  are found at that time, whatever the model does meanwhile.

Sources: Triton core ``dynamic_batch_scheduler.cc`` (``GetDynamicBatch``) and ``scheduler_utils.cc``
(``PriorityQueue``). There a late request is found when the batcher next looks at it, and nothing keeps a
request from being late because of the delay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from workers.model.scheduling import QueuePolicy, Scheduling

__all__ = ["Decision", "Entry", "Schedule"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry(Generic[T]):
    """A request in the queue. All times are of one monotonic clock.

    Args:
        item: The request itself, of which the schedule knows nothing.
        rows: How many rows it has.
        arrived: When it came.
        group: What requests have in common that may share a batch; None if it shares with none.
        deadline: When nobody waits for it any more.
        priority: The level that it asks for; 0 for the default level.
        timeout_s: The queue timeout that it asks for.
        gathered: Whether it is several requests already, that waited for each other before they came.
    """

    item: T
    rows: int
    arrived: float
    group: Hashable | None = None
    deadline: float = math.inf
    priority: int = 0
    timeout_s: float | None = None
    gathered: bool = False


@dataclass(frozen=True, slots=True)
class Decision(Generic[T]):
    """What to do now.

    Args:
        run: The batch to run; empty if nothing is due. These have left the queue.
        late: Whom to tell that it is too late. These have left the queue.
        wake_at: When to decide again if nothing happens before.
    """

    run: Sequence[Entry[T]]
    late: Sequence[Entry[T]]
    wake_at: float


@dataclass(slots=True)
class _Level(Generic[T]):
    """The queue of one level: those in time, with the end of their queue timeout, and those put back."""

    policy: QueuePolicy
    timely: dict[Entry[T], float] = field(default_factory=dict)
    put_back: dict[Entry[T], None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.timely) + len(self.put_back)

    def __iter__(self) -> Iterator[Entry[T]]:
        yield from self.timely
        yield from self.put_back

    def discard(self, entry: Entry[T]) -> None:
        self.timely.pop(entry, None)
        self.put_back.pop(entry, None)

    def expire(self, now: float) -> list[Entry[T]]:
        """Take out who is late, and put back whose queue timeout has passed."""
        late = [entry for entry in self if entry.deadline <= now]
        overdue = [entry for entry, ends in self.timely.items() if ends <= now < entry.deadline]
        if not self.policy.puts_back:
            late += overdue
        for entry in late:
            self.discard(entry)
        if self.policy.puts_back:
            for entry in overdue:
                del self.timely[entry]
                self.put_back[entry] = None
        return late

    def soonest(self) -> float:
        """Return when the next one expires."""
        ends = [min(entry.deadline, ends) for entry, ends in self.timely.items()]
        return min([*ends, *(entry.deadline for entry in self.put_back)], default=math.inf)


class Schedule(Generic[T]):
    """The requests that wait for one model.

    Args:
        scheduling: How they wait and share runs.
        max_rows: The most rows of a batch.
        max_queued: The most requests that may wait, over all levels.

    Example:
        >>> from workers.model.scheduling import Scheduling
        >>> schedule = Schedule[str](Scheduling(), max_rows=8, max_queued=10)
        >>> for name, rows in (("a", 3), ("b", 5), ("c", 1)):
        ...     schedule.add(Entry(item=name, rows=rows, arrived=0.0, group="x"), free=False)
        True
        True
        True
        >>> [entry.item for entry in schedule.decide(0.1, free=True).run]
        ['a', 'b']
    """

    def __init__(self, scheduling: Scheduling, *, max_rows: int, max_queued: int) -> None:
        self._scheduling = scheduling
        self._preferred = scheduling.preferred_rows or {max_rows}
        self._largest = max(self._preferred)
        self._max_rows = max_rows
        self._max_queued = max_queued
        self._levels: dict[int, _Level[T]] = {}
        #: No request expires before it; it may have left the queue since.
        self._soonest = math.inf

    def __len__(self) -> int:
        return sum(map(len, self._levels.values()))

    def add(self, entry: Entry[T], *, free: bool) -> bool:
        """Take a request into the queue, and return whether there was room.

        An idle model takes one request however small the queue is.
        """
        waiting = len(self)
        if waiting >= self._max_queued and (waiting or not free):
            return False
        number = self._scheduling.level_of(entry.priority)
        level = self._levels.get(number) or _Level(self._scheduling.policy_of(number))
        if 0 < level.policy.max_size <= len(level):
            return False
        timeout_s = level.policy.timeout_of(entry.timeout_s)
        ends = math.inf if timeout_s is None else entry.arrived + timeout_s
        level.timely[entry] = ends
        self._levels[number] = level
        self._soonest = min(self._soonest, entry.deadline, ends)
        return True

    def discard(self, entry: Entry[T]) -> None:
        """Drop a request, if it is in the queue."""
        number = self._scheduling.level_of(entry.priority)
        if level := self._levels.get(number):
            level.discard(entry)
            if not level:
                del self._levels[number]
        if not self._levels:
            self._soonest = math.inf

    def decide(self, now: float, *, free: bool) -> Decision[T]:
        """Say what is to be done at the time ``now``.

        Args:
            now: The time.
            free: Whether the model can run a batch.
        """
        late = self._expire(now) if self._soonest <= now else []
        batch, due = self._choose(now) if free else ([], math.inf)
        for entry in batch:
            self.discard(entry)
        return Decision(batch, late, min(due, self._soonest))

    def _expire(self, now: float) -> list[Entry[T]]:
        late = [entry for level in self._levels.values() for entry in level.expire(now)]
        self._levels = {number: level for number, level in self._levels.items() if level}
        self._soonest = min((level.soonest() for level in self._levels.values()), default=math.inf)
        return late

    def _choose(self, now: float) -> tuple[list[Entry[T]], float]:
        """Return the batch that is due, or none and when one will be."""
        batch: list[Entry[T]] = []
        rows, best, grows = 0, 0, True
        for entry in self._in_order():
            size = max(1, entry.rows)
            if batch:
                if rows + size > self._largest and not best:
                    best = len(batch)
                if rows + size > self._max_rows or entry.group is None or entry.group != batch[0].group:
                    grows = False
                    break
            batch.append(entry)
            rows += size
            if rows in self._preferred:
                best = len(batch)
        if not batch:
            return [], math.inf
        delay_s = self._scheduling.max_delay_s
        due = min(entry.arrived + (0.0 if entry.gathered else delay_s) for entry in batch)
        if best and (now < due or not delay_s):
            return batch[:best], math.inf
        grows = grows and rows < self._largest and batch[0].group is not None
        if not grows or due <= now or min(entry.deadline for entry in batch) <= due:
            return batch, math.inf
        return [], due

    def _in_order(self) -> Iterator[Entry[T]]:
        for number in sorted(self._levels):
            yield from self._levels[number]
