"""A queue in front of a model that computes one request at a time.

Rules:

- The queue is bounded; what does not fit is refused at once (QUEUE_FULL), with a hint when to come back.
- A request whose deadline passes while it waits is never computed (DEADLINE_IN_QUEUE); one whose caller goes
  away leaves the queue.
- Whoever stops waiting for a run that has begun, by deadline or by cancellation, aborts it. The next request
  starts when the thread has really ended, which is after the operator in progress.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from protos.errors import AccordError, Reason
from workers.model.session import Abort

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Ran", "Runner"]

T = TypeVar("T")

#: Weight of the newest run in the mean that the hint of a full queue is made of.
_NEWEST = 0.2
_HINT_BOUNDS_S = (0.01, 5.0)


@dataclass(frozen=True, slots=True)
class Ran(Generic[T]):
    """A run's result, and the seconds that it waited and computed."""

    value: T
    queue_s: float
    compute_s: float


class Runner:
    """Runs work in one thread, in order of arrival.

    Args:
        max_queued: The most requests that may wait.
        clock: Source of monotonic time, the event loop's by default.
    """

    def __init__(self, *, max_queued: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_queued = max_queued
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._turn = asyncio.Lock()
        self._queued = 0
        self._mean_s = 0.0

    async def run(self, work: Callable[[Abort], T], *, deadline: float | None = None) -> Ran[T]:
        """Run ``work`` when its turn has come.

        Args:
            work: What to do in the thread; it passes the switch on to the model's run.
            deadline: Absolute monotonic time after which nobody waits for it.

        Raises:
            AccordError: QUEUE_FULL, DEADLINE_IN_QUEUE or DEADLINE_IN_MEMBER.
            Exception: What ``work`` raises.
        """
        arrived = self._clock()
        await self._wait_turn(deadline)
        started = self._clock()
        if deadline is not None and started >= deadline:
            self._turn.release()
            raise _late_in_queue()
        abort = Abort()
        running = asyncio.get_running_loop().run_in_executor(self._pool, work, abort)
        running.add_done_callback(self._end_turn)
        try:
            left = None if deadline is None else deadline - started
            done, _ = await asyncio.wait({running}, timeout=left)
        except asyncio.CancelledError:
            abort.set()
            raise
        if not done:
            abort.set()
            raise AccordError(Reason.DEADLINE_IN_MEMBER, "the deadline passed while the model computed")
        compute_s = self._clock() - started
        self._mean_s += _NEWEST * (compute_s - self._mean_s)
        return Ran(running.result(), started - arrived, compute_s)

    async def _wait_turn(self, deadline: float | None) -> None:
        if self._turn.locked() and self._queued >= self._max_queued:
            shortest, longest = _HINT_BOUNDS_S
            raise AccordError(
                Reason.QUEUE_FULL,
                f"{self._queued} requests wait for the model already; retry later",
                retry_after_s=min(max((self._queued + 1) * self._mean_s, shortest), longest),
            )
        self._queued += 1
        try:
            async with asyncio.timeout(None if deadline is None else deadline - self._clock()):
                await self._turn.acquire()
        except TimeoutError:
            raise _late_in_queue() from None
        finally:
            self._queued -= 1

    def _end_turn(self, running: asyncio.Future[T]) -> None:
        self._turn.release()
        if not running.cancelled():
            running.exception()  # asked for, so that a run nobody waits for may fail in silence


def _late_in_queue() -> AccordError:
    return AccordError(Reason.DEADLINE_IN_QUEUE, "the deadline passed while the request waited for the model")
