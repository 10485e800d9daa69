"""A queue in front of a model that runs one batch at a time.

Rules:

- The queue is bounded; what does not fit is refused at once (QUEUE_FULL), with a hint when to come back.
- A request that is too late while it waits is never computed (DEADLINE_IN_QUEUE); one whose caller goes
  away leaves the queue.
- Whoever stops waiting for a run that has begun, by deadline (DEADLINE_IN_MEMBER) or by cancellation, leaves
  it to the others. When the last one leaves, the run is aborted. The next run starts when the thread has
  really ended, which is after the operator in progress.
- Without ``scheduling`` every request runs alone, in order of arrival.
- A run that is expected to be short (:mod:`workers.model.pace`) is made in the event loop itself: a thread
  costs more than it. Nobody can leave such a run, and a deadline that passes during it is not noticed: its
  answer comes all the same, a fraction of a millisecond late. One run at a time, so that others get the loop
  in between; where requests may share runs, those that arrive at one moment do.

Which requests run next is decided by :class:`workers.schedule.Schedule`; a run is
:func:`workers.execution.execute`, in a thread of its own unless it is short.
"""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from protos.errors import AccordError, Reason
from workers.execution import Compute, Execution, Job, Ran, execute
from workers.model.pace import Pace, size_of
from workers.model.scheduling import Scheduling
from workers.model.session import Abort
from workers.schedule import Entry, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

__all__ = ["Batcher", "Execution", "Job", "Ran"]

#: Weight of the newest run in the mean that the hint of a full queue is made of.
_NEWEST = 0.2
_HINT_BOUNDS_S = (0.01, 5.0)


class Batcher:
    """Runs jobs one batch at a time, those together that the schedule puts together.

    Args:
        compute: Runs the model.
        scheduling: How jobs wait and share runs; None to run each alone, in order of arrival.
        max_rows: The most rows of a batch.
        max_queued: The most jobs that may wait.
        pace: Says how long runs take, and learns from them; None for a model of which nothing is known.
        on_execution: Told of each run of the model that answered, in the event loop.
        clock: Source of monotonic time, the same as the deadlines'.
    """

    def __init__(
        self,
        compute: Compute,
        *,
        scheduling: Scheduling | None,
        max_rows: int,
        max_queued: int,
        pace: Pace | None = None,
        on_execution: Callable[[Execution], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._compute = compute
        self._shares_runs = scheduling is not None
        self._schedule = Schedule[Job](scheduling or Scheduling(), max_rows=max_rows, max_queued=max_queued)
        self._pace = pace or Pace(steady=False)
        self._on_execution = on_execution
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._waiters: dict[Entry[Job], asyncio.Future[Ran]] = {}
        self._turn: _Turn | None = None
        self._soon = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._mean_s = 0.0

    async def run(self, job: Job) -> Ran:
        """Run a job when its turn has come.

        Raises:
            AccordError: QUEUE_FULL, DEADLINE_IN_QUEUE or DEADLINE_IN_MEMBER.
            Exception: What the model raises.
        """
        entry = Entry(
            item=job,
            rows=job.rows,
            arrived=self._clock(),
            group=self._group(job),
            deadline=math.inf if job.deadline is None else job.deadline,
            priority=job.priority,
            timeout_s=job.timeout_s,
            gathered=job.gathered,
        )
        if not self._schedule.add(entry, free=self._turn is None):
            raise self._full()
        waiter: asyncio.Future[Ran] = asyncio.get_running_loop().create_future()
        self._waiters[entry] = waiter
        if self._shares_runs and self._turn is None and self._pace.is_short(size_of([job.inputs])):
            self._decide_soon()
        else:
            self._decide()
        try:
            if waiter.done():
                # made in the loop at once: who asks again and again must let others have it too
                await asyncio.sleep(0)
            return await waiter
        except asyncio.CancelledError:
            self._leave(entry)
            raise

    async def close(self) -> None:
        """Finish the jobs that came before, then end the thread; none may come after."""
        while self._waiters:
            await asyncio.wait(list(self._waiters.values()))
        if self._alarm is not None:
            self._alarm.cancel()
        await asyncio.to_thread(self._pool.shutdown)

    def _group(self, job: Job) -> Hashable | None:
        """Return what jobs must have in common to share a run; one without rows has nothing to share."""
        if not self._shares_runs or not job.rows:
            return None
        tensors = sorted((name, each.datatype, each.shape[1:]) for name, each in job.inputs.items())
        return tuple(tensors), job.wanted

    def _full(self) -> AccordError:
        waiting = len(self._schedule)
        shortest, longest = _HINT_BOUNDS_S
        return AccordError(
            Reason.QUEUE_FULL,
            f"{waiting} requests wait for the model already; retry later",
            retry_after_s=min(max((waiting + 1) * self._mean_s, shortest), longest),
        )

    def _leave(self, entry: Entry[Job]) -> None:
        if self._waiters.pop(entry, None) is None:
            return
        self._schedule.discard(entry)
        if self._turn is not None:
            self._turn.leave(entry)
        self._decide()

    def _decide(self) -> None:
        """Tell who is too late, start what is due, and see to being called again in time."""
        now = self._clock()
        if self._turn is not None:
            for entry in self._turn.expire(now):
                late = AccordError(Reason.DEADLINE_IN_MEMBER, "the deadline passed while the model computed")
                self._settle(entry, late)
        decision = self._schedule.decide(now, free=self._turn is None)
        for entry in decision.late:
            late = AccordError(Reason.DEADLINE_IN_QUEUE, "the request waited too long for the model")
            self._settle(entry, late)
        if decision.run:
            self._start(decision.run, now)
        ends = math.inf if self._turn is None else self._turn.ends
        self._wake(min(decision.wake_at, ends), now)

    def _decide_soon(self) -> None:
        """Decide when those tasks have run that are ready now: they may bring company."""
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._decide_now)

    def _decide_now(self) -> None:
        self._soon = False
        self._decide()

    def _start(self, batch: Sequence[Entry[Job]], now: float) -> None:
        self._turn = turn = _Turn(batch, now)
        size = size_of([entry.item.inputs for entry in batch])
        if self._pace.is_short(size):
            self._end(turn, execute(self._compute, batch, turn.abort, self._clock))
            self._pace.observe(size, self._clock() - now)
            if len(self._schedule):
                self._decide_soon()
            return
        running = asyncio.get_running_loop().run_in_executor(
            self._pool, execute, self._compute, batch, turn.abort, self._clock
        )

        def ended(done: asyncio.Future[list[Ran | Exception]]) -> None:
            executions = self._end(turn, done.result())
            # without one it may have been told to end
            if executions:
                self._pace.observe(size, sum(each.total_s for each in executions))
            self._decide()

        running.add_done_callback(ended)

    def _end(self, turn: _Turn, results: Sequence[Ran | Exception]) -> list[Execution]:
        self._turn = None
        each_s = (self._clock() - turn.began) / len(turn.batch)
        self._mean_s += _NEWEST * (each_s - self._mean_s)
        for entry, result in zip(turn.batch, results, strict=True):
            self._settle(entry, result)
        # the jobs of a batch share one execution
        executions = list(
            {id(ran.execution): ran.execution for ran in results if isinstance(ran, Ran)}.values()
        )
        for execution in executions:
            self._on_execution(execution)
        return executions

    def _settle(self, entry: Entry[Job], result: Ran | Exception) -> None:
        waiter = self._waiters.pop(entry, None)
        if waiter is None or waiter.done():
            return
        if isinstance(result, Ran):
            waiter.set_result(result)
        else:
            waiter.set_exception(result)
            waiter.exception()  # asked for, so that a caller who goes at this moment leaves no complaint

    def _wake(self, at: float, now: float) -> None:
        """Decide again at a time, or earlier: an alarm that is no longer needed is let ring."""
        if at >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.get_running_loop().call_later(at - now, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._decide()


class _Turn:
    """A batch that runs, and who still waits for it."""

    def __init__(self, batch: Sequence[Entry[Job]], now: float) -> None:
        self.batch = batch
        self.began = now
        self.abort = Abort()
        self._riders = dict.fromkeys(batch)
        #: No rider's deadline is before it.
        self.ends = min(entry.deadline for entry in batch)

    def leave(self, entry: Entry[Job]) -> None:
        self._riders.pop(entry, None)
        if not self._riders:
            self.abort.set()

    def expire(self, now: float) -> list[Entry[Job]]:
        """Let those go whose deadline has passed."""
        if now < self.ends:
            return []
        late = [entry for entry in self._riders if entry.deadline <= now]
        for entry in late:
            self.leave(entry)
        self.ends = min((entry.deadline for entry in self._riders), default=math.inf)
        return late
