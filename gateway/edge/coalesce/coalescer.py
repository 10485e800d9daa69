"""Hands requests to the engine in batches, and gives each the replies that are its own.

Rules:

- Together ride requests to one plan that want the same outputs with the same parameters, and whose inputs
  have the same names, datatypes and non-row shapes. They form a line; lines know nothing of each other, so
  a busy ensemble holds up no other.
- Where no model of a plan mixes rows, a request rides alone and at once. So does one that is as large as a
  batch may be, one without rows, and one whose time is over.
- When the next ones of a line leave is decided by :mod:`gateway.policies.linger`.
- Riders are independent: whoever goes away before the ride leaves no trace, whoever goes later leaves it to
  the others. One whose time is over while it waits is told so then, not when there is a place.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.edge.coalesce.line import Line
from gateway.edge.coalesce.ride import Passenger, Ride, likeness

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable

    from gateway.engine.engine import Engine
    from gateway.engine.plan import Plan
    from gateway.observe.metrics import Metrics
    from gateway.observe.statistics import Ledger
    from gateway.values import Batch, Reply

__all__ = ["Coalescer"]

#: Lines that are remembered while nobody is in them.
MOST_LINES = 256


class Coalescer:
    """Makes batches.

    Args:
        engine: Runs them.
        metrics: Counts them, and what the members did.
        ledger: Records them for the protocol's statistics.
        max_linger_s: Longest wait for company.
        max_bytes: Most bytes of a batch's inputs.
    """

    def __init__(
        self, engine: Engine, metrics: Metrics, ledger: Ledger, *, max_linger_s: float, max_bytes: int
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._ledger = ledger
        self._max_linger_s = max_linger_s
        self._max_bytes = max_bytes
        self._running: set[asyncio.Task[None]] = set()
        self._lines: OrderedDict[Hashable, Line] = OrderedDict()

    async def ask(self, batch: Batch) -> Reply:
        """Return the final reply to a batch of one rider; a cancelled caller leaves it."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()
        passenger = Passenger(batch, _resolve(answered), _reject(answered), loop.time())
        line = self._board(passenger)
        try:
            return await answered
        except asyncio.CancelledError:
            _leave(passenger, line)
            raise

    async def stream(self, batch: Batch) -> AsyncGenerator[Reply, None]:
        """Yield the replies to a batch of one rider, the last of them final.

        Interim replies that a slow reader has not taken give way to newer ones. Who closes this generator
        leaves the batch.
        """
        replies = _Latest()
        passenger = Passenger(batch, replies.put, replies.fail, asyncio.get_running_loop().time())
        line = self._board(passenger)
        try:
            while not (reply := await replies.take()).final:
                yield reply
            yield reply
        finally:
            _leave(passenger, line)

    async def drain(self) -> None:
        """Wait until nobody waits and every batch has ended."""
        while self._running or any(line.waiting for line in self._lines.values()):
            # who waits while nobody rides leaves within the linger
            await (asyncio.wait(self._running) if self._running else asyncio.sleep(self._max_linger_s))

    def _board(self, passenger: Passenger) -> Line | None:
        """Put a request in line, and return the line; None if it rides alone."""
        batch = passenger.batch
        plan: Plan = batch.route
        small = 0 < batch.n < plan.max_rows and passenger.nbytes < self._max_bytes
        if not (plan.mixes and small and passenger.until > passenger.arrived):
            self._depart(Ride([passenger]), None)
            return None
        key = likeness(batch)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(
                max_rows=plan.max_rows,
                max_bytes=self._max_bytes,
                max_linger_s=self._max_linger_s,
                depart=self._depart,
            )
            self._forget()
        else:
            self._lines.move_to_end(key)
        line.join(passenger)
        return line

    def _forget(self) -> None:
        """Drop the lines that have been empty for longest, beyond a number."""
        for key in list(self._lines)[: max(0, len(self._lines) - MOST_LINES)]:
            if not self._lines[key].present:
                del self._lines[key]

    def _depart(self, ride: Ride, line: Line | None) -> None:
        loop = asyncio.get_running_loop()
        left = loop.time()
        plan: Plan = ride.batch.route
        self._metrics.batch(plan.name, ride.batch.n, left - ride.passengers[0].arrived)

        def deliver(reply: Reply) -> None:
            if reply.final:
                self._metrics.report(plan.name, reply.report, len(reply.riders))
            if reply.final and reply.error is None:
                rows = sum(rider.rows.stop - rider.rows.start for rider in reply.riders)
                self._ledger.executed(plan.name, plan.version, rows, loop.time() - left, reply.report)
            ride.deliver(reply)
            if line is not None and reply.final:
                line.answered(ride, len(reply.riders), loop.time() - left)

        def ended(done: asyncio.Task[None]) -> None:
            self._running.discard(done)
            ride.end(None if done.cancelled() else done.exception())
            if line is not None:
                line.answered(ride, ride.unanswered, loop.time() - left)

        # the batch outlives the answer: losers are cancelled and awaited without the caller waiting
        task = loop.create_task(self._engine.run(ride.batch, deliver))
        self._running.add(task)
        task.add_done_callback(ended)


def _leave(passenger: Passenger, line: Line | None) -> None:
    if passenger.ride is not None:
        passenger.ride.batch.leave(passenger.rider)
    elif line is not None:
        line.drop(passenger)


def _resolve(answered: asyncio.Future[Reply]) -> Callable[[Reply], None]:
    def put(reply: Reply) -> None:
        if reply.final and not answered.done():
            answered.set_result(reply)

    return put


def _reject(answered: asyncio.Future[Reply]) -> Callable[[BaseException], None]:
    def fail(error: BaseException) -> None:
        if not answered.done():
            answered.set_exception(error)

    return fail


class _Latest:
    """The newest reply that nobody has taken yet: room for one, and nothing follows the final one."""

    def __init__(self) -> None:
        self._reply: Reply | None = None
        self._error: BaseException | None = None
        self._news = asyncio.Event()

    def put(self, reply: Reply) -> None:
        if self._reply is None or not self._reply.final:
            self._reply = reply
            self._news.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._news.set()

    async def take(self) -> Reply:
        await self._news.wait()
        self._news.clear()
        if self._error is not None:
            raise self._error
        assert self._reply is not None  # noqa: S101 - there is news, and it is no error
        return self._reply
