"""Runs batches: asks the calls of a plan, waits, and delivers each rider's reply.

Rules:

- Forward only: calls go down, results come back as values; nothing here raises but cancellation. A bug,
  of a plug-in's or ours, ends the batch: riders still open are told INTERNAL.
- Every rider gets exactly one final reply, unless it left. A rider is answered when all its rows are
  closed, at the latest at its own end of waiting; one whose time is over before the start is told so.
- A rider that wants interim replies gets one whenever a seat's answer arrives and a seat is usable for all
  its rows: at most one for what arrives together, none after the final one.
- A call that is rejected for its input is made again rider by rider.
- A call that reads others is made as soon as its inputs are there, for the rows for which they are.
- A batch ends when no rider is open; what still runs for it is then cancelled and awaited.
- Where all calls are made at once and nothing can be said before all are in, nothing is looked at until then,
  or until a call fails, a time ends or a rider leaves. If all answers are usable, that is all there is to it.
- All decisions are the tally's, the strategy's and the verdict's; this module acts and keeps time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import numpy as np

from gateway.engine.dispatch import Dispatch
from gateway.engine.plan import Call, Merge, Plan
from gateway.engine.reply import Moment, build_interim, build_replies
from gateway.engine.tally import Tally
from gateway.engine.upstream import Upstream
from gateway.values import Answer, Failure, Reply, Report
from protos.errors import INTERNAL_TEXT, AccordError, Cause, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from gateway.engine.dispatch import Asked, Ended
    from gateway.members.member import Member
    from gateway.strategies.base import Mask
    from gateway.values import Batch, Rider

__all__ = ["Engine"]

_log = logging.getLogger(__name__)

_TOO_LATE = (Reason.DEADLINE_IN_QUEUE, "the deadline passed while the call waited; give the call more time")
_OUR_FAULT = (Reason.INTERNAL, INTERNAL_TEXT)


class Engine:
    """Answers batches with the help of members.

    Args:
        members: The models that can be asked, by name.
    """

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members

    async def run(self, batch: Batch, deliver: Callable[[Reply], None]) -> None:
        """Run one batch to its end.

        Args:
            batch: The batch; its route is a :class:`gateway.engine.plan.Plan`.
            deliver: Called with one final reply for each rider that has not left, and before that with
                interim ones for riders who want them.
        """
        execution = _Execution(self._members, batch, deliver)
        try:
            await execution.run()
        except Exception:  # noqa: BLE001 - a bug must not leave a rider without a reply
            _log.exception("a batch failed")
            execution.abandon()
        finally:
            await execution.end()


class _Execution:
    def __init__(self, members: Mapping[str, Member], batch: Batch, deliver: Callable[[Reply], None]) -> None:
        plan = batch.route
        assert isinstance(plan, Plan)  # noqa: S101 - the route is opaque to everyone but the engine
        self._members = members
        self._batch = batch
        self._deliver = deliver
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        above = plan.upstream
        self._upstream = Upstream(above, batch.n, batches=plan.batches) if above is not None else None
        read = self._upstream.tensor if self._upstream is not None else None
        self._dispatch = Dispatch(members, batch, self._call_ended, read)
        self._flat = plan.flat and all(call.mixes or len(batch.riders) == 1 for call in plan.calls)
        self._gathering = False
        self._riders = sorted(batch.riders, key=lambda rider: rider.rows.start)
        self._started = self._loop.time()
        #: Which answers the last interim reply was made of, by rider.
        self._shown = {rider: b"" for rider in batch.riders if rider.interim}
        self._root: Tally

    async def run(self) -> None:
        self._batch.watch(self._changed.set)
        ends = {rider: rider.closes_at for rider in self._riders}
        self._refuse([rider for rider, end in ends.items() if end <= self._started], _TOO_LATE)
        sizes = [rider.rows.stop - rider.rows.start for rider in self._riders]
        until = np.repeat([ends[rider] for rider in self._riders], sizes)
        # who has no rows, has left or wants more than the final reply is answered by the general rules
        plain = len(until) == self._batch.n and all(sizes) and not (self._batch.departed or self._shown)
        if self._flat and plain and await self._run_flat(until):
            return
        self._root = Tally(self._plan.merge, self._batch.n)
        self._root.start(self._batch.rows_of(self._riders), until)
        if self._upstream is not None:
            self._upstream.tally.start(self._batch.rows_of(self._riders), until)
        # calls that were made at the start are joined, whatever came of them
        self._ask(self._root, self._started)
        while True:
            self._advance(self._loop.time())
            if not self._riders:
                return
            await self._sleep_until(min(tally.next_timer() for tally in self._tallies))

    async def _run_flat(self, until: NDArray[np.float64]) -> bool:
        """Make all calls and wait for all of them; tell whether that was enough to answer everybody."""
        seats, rows = self._plan.merge.seats, self._batch.rows_of(self._riders)
        latest, soonest = float(until.max()), float(until.min())
        asked = []
        for seat in seats:
            assert isinstance(seat.source, Call)  # noqa: S101 - a flat plan has no other seats
            asked.append(self._call(seat.source, rows, latest, self._started))
            soonest = min(soonest, self._started + (seat.timeout_s or np.inf))
        self._gathering = True
        await self._sleep_until(soonest)
        self._gathering = False
        return not (self._dispatch.under_way or self._batch.departed) and self._answer_all(asked)

    def _answer_all(self, asked: Sequence[Asked]) -> bool:
        """Answer everybody from the answers to these calls, each of a seat; tell whether they are usable."""
        ended = {each.asked: each for each in self._dispatch.ended}
        answers = [(ended[each].result, ended[each].at) for each in asked]
        usable = [(result, at) for result, at in answers if isinstance(result, Answer)]
        if len(usable) < len(answers):
            return False
        root = Tally.complete(
            self._plan.merge, self._batch.n, usable, asked_at=self._started, batches=self._plan.batches
        )
        if root is None:
            return False
        self._root = root
        self._deliver_to(self._riders, self._loop.time())
        return True

    def abandon(self) -> None:
        """Tell every rider who is still open that the fault is ours."""
        self._refuse(self._riders, _OUR_FAULT)

    def _refuse(self, riders: Sequence[Rider], fault: tuple[Reason, str]) -> None:
        elapsed_s = self._loop.time() - self._started
        report = Report(seats=(), asked=0, used=0, agreement=None, elapsed_s=elapsed_s)
        reason, message = fault
        for rider in [rider for rider in riders if rider not in self._batch.departed]:
            error = AccordError(reason, message, metadata={"model": self._plan.name})
            self._deliver(Reply(riders=(rider,), error=error, report=report))
        self._riders = [rider for rider in self._riders if rider not in riders]

    async def end(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        await self._dispatch.end()

    async def _sleep_until(self, when: float) -> None:
        timer = self._loop.call_at(when, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            timer.cancel()
            self._changed.clear()

    def _advance(self, now: float) -> None:
        """Take in what happened, then ask, close and deliver until nothing more follows."""
        departed = self._batch.departed
        leaving = departed.intersection(self._riders) if departed else ()
        for rider in leaving:
            self._shut([rider])
            self._riders.remove(rider)
        for ended in self._dispatch.take_ended():
            self._enter(ended, now)
        expired = nested = False
        for tally in self._tallies:
            expired |= tally.expire(now)
        while self._ask_all(now) | (closed := self._close_all(now)):
            nested |= closed
        settled = self._close_riders(now)
        if self._shown:
            self._show(now)
        # an answer that comes as expected makes no other call needless
        if leaving or expired or nested or settled:
            dropped = self._dispatch.drop_unneeded()
            if self._upstream is not None:
                self._upstream.give_up(dropped)

    def _enter(self, ended: Ended, now: float) -> None:
        asked, result = ended.asked, ended.result
        if isinstance(result, Failure) and result.cause is Cause.MEMBER_REJECTED_INPUT:
            parts = self._apart(asked.rows)
            if not any((part == asked.rows).all() for part in parts):
                self._ask_again(asked, parts, now)
                return
        for tally, seat in asked.listeners:
            self._enter_at(tally, seat, asked.rows, result, ended.at)

    def _enter_at(self, tally: Tally, seat: int, rows: Mask, result: Answer | Failure, now: float) -> None:
        if not tally.needs(seat, rows):
            return
        if isinstance(result, Answer):
            tally.answer(seat, rows, result, batches=self._plan.batches, now=now)
        else:
            tally.fail(seat, rows, result, now)

    @property
    def _tallies(self) -> Sequence[Tally]:
        return [self._root] if self._upstream is None else [self._root, self._upstream.tally]

    def _ask_all(self, now: float) -> bool:
        """Start the next waves of all merges, and the calls whose inputs came; tell whether one did."""
        acted = self._ask(self._root, now)
        if self._upstream is not None:
            # from the last on: what one of them starts stands before it, to be asked before it may close
            for nested in reversed(self._upstream.tally.nested.values()):
                acted |= self._ask(nested, now)
            acted |= self._upstream.lose(now)
            for due in self._upstream.due(now):
                acted = True
                self._join(due.call, due.rows, due.tally, due.seat, now)
        return acted

    def _ask(self, tally: Tally, now: float) -> bool:
        """Start the next wave of this merge and of the ones nested in it; tell whether there was one."""
        acted = False
        for seat, rows in tally.asks(now):
            acted = True
            self._ask_seat(tally, seat, rows, now)
        for nested in tally.nested.values():
            acted |= self._ask(nested, now)
        return acted

    def _ask_seat(self, tally: Tally, seat: int, rows: Mask, now: float) -> None:
        source = tally.merge.seats[seat].source
        match source:
            case Call():
                parts = [rows] if source.mixes else self._apart(rows)
                if source.feeds and self._upstream is not None:
                    for above, asked in self._upstream.wait(source, parts, tally, seat, now):
                        self._ask_seat(self._upstream.tally, above, asked, now)
                else:
                    for part in parts:
                        self._join(source, part, tally, seat, now)
            case Merge():
                until = np.minimum(tally.seat_until[seat, rows], now + (source.deadline_s or np.inf))
                tally.nested[seat].start(rows, until)

    def _join(self, call: Call, rows: Mask, tally: Tally, seat: int, now: float) -> None:
        """Listen to an equal call for the same rows, or make it; for what upstream was asked, to that."""
        upstream = self._upstream
        if upstream is not None and tally is not upstream.tally:
            for asked in upstream.made(call):
                if not (asked.rows & rows).any():
                    continue
                if asked.result is None:
                    asked.listeners.append((tally, seat))
                else:
                    self._enter_at(tally, seat, asked.rows, asked.result, now)
                rows = rows & ~asked.rows
            if not rows.any():
                return
        asked = self._call(call, rows, float(self._root.until[rows].max()), now)
        if upstream is not None and tally is upstream.tally:
            upstream.enter(asked, seat)
            return
        asked.listeners.append((tally, seat))
        if upstream is not None:
            upstream.listen(call, asked, now)

    def _call(self, call: Call, rows: Mask, latest: float, now: float) -> Asked:
        until = min(latest, now + (call.timeout_s or np.inf))
        return self._dispatch.call(call, rows, until=until, riders=self._riders)

    def _apart(self, rows: Mask) -> list[Mask]:
        """Return rows rider by rider, without those who have none among them."""
        if len(self._batch.riders) == 1:
            return [rows]
        parts = [rows & self._batch.rows_of([rider]) for rider in self._riders]
        return [part for part in parts if part.any()]

    def _ask_again(self, asked: Asked, parts: Sequence[Mask], now: float) -> None:
        """Ask rider by rider, so that one bad input is told to nobody but the rider who sent it."""
        asked.dropped = True
        for tally, seat in asked.listeners:
            source = tally.merge.seats[seat].source
            assert isinstance(source, Call)  # noqa: S101 - only calls have listeners
            tally.attempts[seat] += 1
            for part in parts:
                if tally.needs(seat, part):
                    self._join(source, part, tally, seat, now)

    def _call_ended(self) -> None:
        if (
            self._gathering
            and self._dispatch.under_way
            and isinstance(self._dispatch.ended[-1].result, Answer)
        ):
            return  # nothing can be said before all are in
        self._changed.set()

    def _close_all(self, now: float) -> bool:
        closed = False
        for tally in self._tallies:
            closed |= self._close_nested(tally, now)
        return closed

    def _close_nested(self, tally: Tally, now: float) -> bool:
        """Close rows of nested merges, innermost first, and enter them above; tell whether any closed."""
        acted = False
        for seat, nested in tally.nested.items():
            if self._close_nested(nested, now):
                acted = True
                continue  # its strategy may plan another wave before it closes
            rows = nested.closable(now)
            if rows.any():
                acted = True
                self._close_into(tally, seat, nested, rows, now)
        return acted

    def _close_into(self, tally: Tally, seat: int, nested: Tally, rows: Mask, now: float) -> None:
        """Turn closed rows of a nested merge into the answer, or failure, of the seat above."""
        for cause, lost in nested.verdicts(rows).items():
            tally.fail(seat, lost, Failure(cause), now)
            rows = rows & ~lost
            nested.shut(lost)
        if not rows.any():
            return
        nested.shut(rows)
        for part in nested.parts(rows):
            try:
                merged = nested.merged(part, now)
            except Exception:  # noqa: BLE001 - a plug-in's bug must not take the batch down
                merge = nested.merge
                _log.exception("strategy %s of ensemble %s failed", merge.strategy.kind, merge.name)
                tally.fail(seat, part, Failure(Cause.COMBINE_FAILED), now)
            else:
                tally.enter_merged(seat, part, merged, now)

    def _close_riders(self, now: float) -> bool:
        """Answer every rider whose rows are all closable; tell whether there was one."""
        closable = self._root.closable(now)
        closing = self._batch.within(closable | ~self._root.open, self._riders)
        if not closing:
            return False
        self._shut(closing)
        self._deliver_to(closing, now)
        return True

    def _shut(self, riders: Sequence[Rider]) -> None:
        for tally in self._tallies:
            tally.shut(self._batch.rows_of(riders))

    def _deliver_to(self, riders: Sequence[Rider], now: float) -> None:
        for reply in build_replies(self._moment(now), riders):
            served = set(reply.riders)
            self._riders = [rider for rider in self._riders if rider not in served]
            self._deliver(reply)

    def _show(self, now: float) -> None:
        """Deliver interim replies to riders for whom there is something new to merge."""
        for rider in [rider for rider in self._riders if rider.interim]:
            answered = self._root.answered[:, rider.rows]
            there = answered.tobytes()
            if there != self._shown[rider] and answered.all(axis=1).any():
                self._shown[rider] = there
                reply = build_interim(self._moment(now), rider)
                if reply is not None:
                    self._deliver(reply)

    def _moment(self, now: float) -> Moment:
        return Moment(
            batch=self._batch,
            plan=self._plan,
            root=self._root,
            upstream=self._upstream.tally if self._upstream is not None else None,
            now=now,
            elapsed_s=now - self._started,
            clock=self._loop.time,
        )
