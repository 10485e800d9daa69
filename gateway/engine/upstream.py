"""What feeds others: calls that wait for the outputs that they read, row by row.

Pure bookkeeping without I/O or clock, as the tally's: the engine asks the upstream seats that it names, and
makes the calls that it says are due.

Rules:

- An upstream seat is asked for a row when a call needs it there, and once; again if that was given up for
  want of readers.
- A call is due for the rows for which all that it reads is there. It fails for those for which some of it
  will not come, by the cause of that, and names the upstream seat; and if outputs that shall stand side by
  side have lengths that do not allow it.
- A seat that counts and is read as well is asked once for a row: its answer is entered for both, whoever
  asked first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gateway.engine.plan import Call
from gateway.engine.tally import Tally
from gateway.values import Failure
from protos.errors import Cause
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.engine.dispatch import Asked
    from gateway.engine.plan import Feed, Merge
    from gateway.strategies.base import Array, Mask

__all__ = ["Due", "Upstream"]


@dataclass(slots=True, eq=False)
class _Wave:
    """What a seat was asked at one moment: one attempt, once any of its calls is made."""

    made: bool = False


@dataclass(slots=True, eq=False)
class Due:
    """A call for rows, and the seat of a merge that is asked by it."""

    call: Call
    rows: Mask
    tally: Tally
    seat: int
    wave: _Wave

    @property
    def wanted(self) -> Mask:
        """The rows for which its answer is still of use."""
        return self.rows & self.tally.waiting(self.seat) & self.tally.open


class _Feeders(Tally):
    """A tally of seats whose answers are awaited only as long as somebody waits who reads them."""

    def __init__(self, merge: Merge, n: int, readers: Callable[[], Mask]) -> None:
        super().__init__(merge, n)
        self._readers = readers
        #: For what a seat was asked and is not asked any more.
        self._given_up = np.zeros_like(self.asked)

    def awaited(self, seat: int, rows: Mask) -> bool:
        return self.needs(seat, rows & self._readers()[seat])

    def ask(self, seat: int, rows: Mask, now: float) -> Mask:
        again = rows & self._given_up[seat] & self.waiting(seat)
        self.asked[seat] &= ~again
        self._given_up[seat] &= ~again
        return super().ask(seat, rows, now)

    def give_up(self, seat: int, rows: Mask) -> None:
        """Enter that nobody is asked for these rows any more."""
        self._given_up[seat] |= rows
        self.seat_until[seat, rows & self.waiting(seat)] = np.inf


class Upstream:
    """The upstream seats of one batch, and the calls that wait for them.

    Args:
        merge: A plan's upstream seats.
        n: Rows of the batch.
        batches: Whether answers have a row axis.
    """

    def __init__(self, merge: Merge, n: int, *, batches: bool) -> None:
        self.tally = _Feeders(merge, n, self._readers)
        self._batches = batches
        self._waiting: list[Due] = []
        #: The calls that were made for each seat, by their model and inputs.
        self._made: list[list[Asked]] = [[] for _ in merge.seats]
        self._seats = {
            (seat.source.model, seat.source.inputs): i
            for i, seat in enumerate(merge.seats)
            if isinstance(seat.source, Call) and seat.chosen
        }

    def wait(
        self, call: Call, parts: Sequence[Mask], tally: Tally, seat: int, now: float
    ) -> Iterator[tuple[int, Mask]]:
        """Let a call wait for what it reads, and yield the upstream seats to ask for that, with the rows.

        Args:
            call: The call.
            parts: The rows of each call that it will be.
            tally: The merge whose seat is asked by it.
            seat: The seat.
            now: The time.
        """
        tally.attempts[seat] -= 1  # until it is made
        wave = _Wave()
        for rows in parts:
            self._waiting.append(Due(call, rows, tally, seat, wave))
            for above in dict.fromkeys(feed.seat for feed in call.feeds):
                asked = self.tally.ask(above, rows, now)
                if asked.any():
                    yield above, asked

    def made(self, call: Call) -> Iterator[Asked]:
        """Yield the equal calls that an upstream seat listens to, or got its answer from."""
        seat = self._seats.get((call.model, call.inputs))
        return (asked for asked in self._made[seat] if not asked.dropped) if seat is not None else iter(())

    def listen(self, call: Call, asked: Asked, now: float) -> None:
        """Let the upstream seat that a call is of listen to it, if that was not asked for any of the rows."""
        seat = self._seats.get((call.model, call.inputs))
        if seat is not None and self.tally.ask(seat, asked.rows, now).any():
            self.enter(asked, seat)

    def enter(self, asked: Asked, seat: int) -> None:
        """Enter that a call was made for an upstream seat."""
        asked.listeners.append((self.tally, seat))
        self._made[seat].append(asked)

    def give_up(self, dropped: Sequence[Asked]) -> None:
        """Enter which calls were dropped; those that nobody waits for any more are not made either."""
        for asked in dropped:
            for tally, seat in asked.listeners:
                if tally is self.tally:
                    self.tally.give_up(seat, asked.rows)
        readers = self._readers()
        for each in self._waiting:
            if each.tally is self.tally:
                self.tally.give_up(each.seat, each.rows & ~readers[each.seat])
                each.rows = each.rows & readers[each.seat]

    def lose(self, now: float) -> bool:
        """Enter as failed the calls that cannot be made any more; tell whether there was one."""
        found = False
        for each in self._waiting:
            for feed in each.call.feeds:
                lost = each.wanted & self.tally.lacks(feed.seat, feed.output)
                if lost.any():
                    found = True
                    each.tally.blame(each.seat, lost, self.tally.merge.seats[feed.seat].name)
                    for cause, rows in self.tally.causes_of(feed.seat, feed.output, lost):
                        each.tally.fail(each.seat, rows, Failure(cause), now)
            ready = self._ready(each)
            if ready.any() and not self._stackable(each.call, ready):
                found = True
                each.tally.fail(each.seat, ready, Failure(Cause.MEMBER_REJECTED_INPUT), now)
        return found

    def due(self, now: float) -> list[Due]:
        """Return the calls to be made, each for the rows for which all that it reads is there."""
        due, waiting = [], []
        for each in self._waiting:
            wanted, ready = each.wanted, self._ready(each)
            if ready.any():
                due.append(replace(each, rows=ready))
                each.tally.asked_at[each.seat] = now
                each.tally.attempts[each.seat] += not each.wave.made
                each.wave.made = True
            each.rows = wanted & ~ready
            if each.rows.any():
                waiting.append(each)
        self._waiting = waiting
        return due

    def _ready(self, due: Due) -> Mask:
        """Return the rows for which all that a call reads is there."""
        there = np.all([self.tally.answered[feed.seat] for feed in due.call.feeds], axis=0)
        return np.asarray(due.wanted & there)

    def _stackable(self, call: Call, rows: Mask) -> bool:
        """Tell whether the outputs that shall stand side by side have all but their last axis in common."""
        sources = (source for _, source in call.inputs if not isinstance(source, str))
        return all(len({a.shape[:-1] for a in self._columns(source, rows)}) == 1 for source in sources)

    def _readers(self) -> Mask:
        """Return for each seat the rows for which a call waits that reads it, and is itself of use."""
        # each seat comes after those that it reads, so from the last on, whoever reads one is known before it
        rows = np.zeros((len(self.tally.merge.seats), self.tally.n), np.bool_)
        above = [each for each in self._waiting if each.tally is self.tally]
        above.sort(key=lambda each: each.seat, reverse=True)
        for each in [*(each for each in self._waiting if each.tally is not self.tally), *above]:
            wanted = each.wanted & rows[each.seat] if each.tally is self.tally else each.wanted
            for feed in each.call.feeds:
                rows[feed.seat] |= wanted
        return rows

    def tensor(self, feeds: Sequence[Feed], rows: Mask) -> Tensor:
        """Return what a model reads for some rows; of several outputs, side by side along the last axis."""
        columns = self._columns(feeds, rows)
        array = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=-1)
        return Tensor.from_array(array if self._batches else array.reshape(array.shape[1:]))

    def _columns(self, feeds: Sequence[Feed], rows: Mask) -> list[Array]:
        arrays = [self._array(feed, rows) for feed in feeds]
        if len(arrays) == 1:
            return arrays
        return [array.reshape(len(array), 1) if array.ndim == 1 else array for array in arrays]

    def _array(self, feed: Feed, rows: Mask) -> Array:
        # of these rows: for others the seat may have left the output out
        array = self.tally.outputs(rows)[feed.seat][feed.output]
        return array if rows.all() else array[rows]
