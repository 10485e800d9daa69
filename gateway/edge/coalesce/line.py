"""Requests that wait for the same batches: who is in line, and when the next ones leave."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from gateway.edge.coalesce.ride import Ride
from gateway.policies.linger import Linger, Places

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.coalesce.ride import Passenger

__all__ = ["Line"]

#: Batches of one line that may be under way at once, at most.
MOST_PLACES = 16


class Line:
    """A line of requests that may ride together.

    Args:
        max_rows: Most rows of a batch.
        max_bytes: Most bytes of its inputs.
        max_linger_s: Longest wait for company.
        depart: Starts a ride; told the line that it belongs to, or None for a ride that takes no place in it.
    """

    def __init__(
        self,
        *,
        max_rows: int,
        max_bytes: int,
        max_linger_s: float,
        depart: Callable[[Ride, Line | None], None],
    ) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._depart = depart
        self._linger = Linger(cap_s=max_linger_s)
        self._places = Places(most=MOST_PLACES)
        self._waiting: dict[Passenger, None] = {}
        self._rows = self._bytes = 0
        #: No later than when waiting ends for the first that waits.
        self._soonest = math.inf
        self._under_way = self._riding = 0
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    @property
    def present(self) -> int:
        """How many wait or ride."""
        return len(self._waiting) + self._riding

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def join(self, passenger: Passenger) -> None:
        """Wait for a ride."""
        self._waiting[passenger] = None
        self._rows += passenger.batch.n
        self._bytes += passenger.nbytes
        self._soonest = min(self._soonest, passenger.until)
        self._linger.arrived(self._loop.time(), present=self.present)
        self._decide()

    def drop(self, passenger: Passenger) -> None:
        """Wait no more."""
        if passenger in self._waiting:
            self._remove(passenger)

    def answered(self, ride: Ride, riders: int, took_s: float) -> None:
        """Take note that some who ride were answered, or went away; with the last of them a place is free.

        That is before the batch ends: calls that nobody waits for any more may take a while to be cancelled.
        """
        if not ride.unanswered:
            return
        ride.unanswered -= riders
        self._riding -= riders
        if ride.unanswered:
            return
        wanted = self._under_way >= self._places.number and bool(self._waiting)
        self._under_way -= 1
        self._linger.ended(took_s)
        self._places.ended(self._loop.time(), riders=len(ride.passengers), took_s=took_s, wanted=wanted)
        self._decide()

    def _decide(self) -> None:
        """Start what is due, and see to being called again in time."""
        now = self._loop.time()
        if self._soonest <= now:
            self._turn_away(now)
        while self._waiting:
            at = self._leaves_at()
            if at > now:
                self._wake(min(at, self._soonest), now)
                return
            self._leave()

    def _leaves_at(self) -> float:
        if self._under_way >= self._places.number:
            return math.inf
        if self._rows >= self._max_rows or self._bytes >= self._max_bytes:
            return -math.inf
        return self._linger.leaves_at(
            waiting=len(self._waiting),
            oldest=next(iter(self._waiting)).arrived,
            soonest=self._soonest,
            places=self._places.number,
        )

    def _leave(self) -> None:
        ride = Ride(self._take())
        self._under_way += 1
        self._riding += len(ride.passengers)
        self._linger.left(present=self.present)
        self._depart(ride, self)

    def _take(self) -> list[Passenger]:
        """Take who has waited for longest, as many as fit into a batch."""
        taken: list[Passenger] = []
        rows = size = 0
        for passenger in self._waiting:
            rows, size = rows + passenger.batch.n, size + passenger.nbytes
            if taken and (rows > self._max_rows or size > self._max_bytes):
                break
            taken.append(passenger)
        for passenger in taken:
            self._remove(passenger)
        self._soonest = min((passenger.until for passenger in self._waiting), default=math.inf)
        return taken

    def _turn_away(self, now: float) -> None:
        """Let the engine tell those whose time is over, each by itself and whatever places there are."""
        for passenger in [passenger for passenger in self._waiting if passenger.until <= now]:
            self._remove(passenger)
            self._depart(Ride([passenger]), None)
        self._soonest = min((passenger.until for passenger in self._waiting), default=math.inf)

    def _remove(self, passenger: Passenger) -> None:
        del self._waiting[passenger]
        self._rows -= passenger.batch.n
        self._bytes -= passenger.nbytes

    def _wake(self, at: float, now: float) -> None:
        """Decide again at a time, or earlier: an alarm that is no longer needed is let ring."""
        if at >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._loop.call_later(at - now, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._decide()
