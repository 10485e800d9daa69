"""What feeds others: calls that wait for the outputs that they read, row by row.

Pure bookkeeping without I/O or clock, as the tally's: the engine asks the upstream seats that it names, and
makes the calls that it says are due.

Rules:

- An upstream seat is asked for a row when a call needs it there, and once.
- A call is due for the rows for which all that it reads is there. It fails for those for which some of it
  will not come, by the cause of that, and names the upstream seat.
- A seat that counts and is read as well is asked once: its answer is entered for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.engine.plan import Call
from gateway.engine.tally import Tally
from gateway.values import Failure
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.engine.plan import Feed, Merge
    from gateway.strategies.base import Array, Mask

__all__ = ["Due", "Upstream"]


@dataclass(slots=True, eq=False)
class Due:
    """A call for rows, and the seat of a merge that is asked by it."""

    call: Call
    rows: Mask
    tally: Tally
    seat: int

    @property
    def wanted(self) -> Mask:
        """The rows for which its answer is still of use."""
        return self.rows & self.tally.waiting(self.seat) & self.tally.open


class _Feeders(Tally):
    """A tally of seats whose answers are awaited only as long as somebody waits who reads them."""

    def __init__(self, merge: Merge, n: int, readers: Callable[[int], Mask]) -> None:
        super().__init__(merge, n)
        self._readers = readers

    def awaited(self, seat: int, rows: Mask) -> bool:
        return self.needs(seat, rows & self._readers(seat))


class Upstream:
    """The upstream seats of one batch, and the calls that wait for them.

    Args:
        merge: A plan's upstream seats.
        n: Rows of the batch.
        batches: Whether answers have a row axis.
    """

    def __init__(self, merge: Merge, n: int, *, batches: bool) -> None:
        self.tally: Tally = _Feeders(merge, n, self._readers)
        self._batches = batches
        self._waiting: list[Due] = []
        self._seats = {
            (seat.source.model, seat.source.inputs): i
            for i, seat in enumerate(merge.seats)
            if isinstance(seat.source, Call) and seat.chosen
        }

    def wait(self, call: Call, rows: Mask, tally: Tally, seat: int, now: float) -> Iterator[tuple[int, Mask]]:
        """Let a call wait for what it reads, and yield the upstream seats to ask for that, with the rows."""
        tally.attempts[seat] = 0  # until it is made
        self._waiting.append(Due(call, rows, tally, seat))
        for above in dict.fromkeys(feed.seat for feed in call.feeds):
            asked = self.tally.ask(above, rows, now)
            if asked.any():
                yield above, asked

    def also(self, call: Call, rows: Mask, now: float) -> int | None:
        """Return the upstream seat that an equal call is of, if that was not asked for any of the rows."""
        seat = self._seats.get((call.model, call.inputs))
        return seat if seat is not None and self.tally.ask(seat, rows, now).any() else None

    def lose(self, now: float) -> bool:
        """Enter as failed the calls that cannot be made any more; tell whether there was one."""
        found = False
        for each in self._waiting:
            for feed in each.call.feeds:
                lost = each.wanted & self.tally.lacks(feed.seat, feed.output)
                if lost.any():
                    found = True
                    each.tally.blamed.setdefault(each.seat, self.tally.merge.seats[feed.seat].name)
                    for cause, rows in self.tally.causes_of(feed.seat, lost):
                        each.tally.fail(each.seat, rows, Failure(cause), now)
        return found

    def due(self, now: float) -> list[Due]:
        """Return the calls to be made, each for the rows for which all that it reads is there."""
        due, waiting = [], []
        for each in self._waiting:
            wanted = each.wanted
            ready = wanted & np.all([self.tally.answered[feed.seat] for feed in each.call.feeds], axis=0)
            if ready.any():
                due.append(Due(each.call, ready, each.tally, each.seat))
                each.tally.asked_at[each.seat] = now
                each.tally.attempts[each.seat] = max(1, each.tally.attempts[each.seat])
            each.rows = wanted & ~ready
            if each.rows.any():
                waiting.append(each)
        self._waiting = waiting
        return due

    def _readers(self, seat: int) -> Mask:
        """Return the rows for which a call waits that reads a seat, and is itself of use."""
        rows = np.zeros(self.tally.n, np.bool_)
        for each in self._waiting:
            if any(feed.seat == seat for feed in each.call.feeds):
                rows |= each.wanted & (self._readers(each.seat) if each.tally is self.tally else True)
        return rows

    def tensor(self, feeds: Sequence[Feed], rows: Mask) -> Tensor:
        """Return what a model reads for some rows; of several outputs, side by side along the last axis."""
        arrays = [self._array(feed, rows) for feed in feeds]
        if len(arrays) > 1:
            columns = [array.reshape(len(array), 1) if array.ndim == 1 else array for array in arrays]
            arrays = [np.concatenate(columns, axis=-1)]
        return Tensor.from_array(arrays[0] if self._batches else arrays[0][0])

    def _array(self, feed: Feed, rows: Mask) -> Array:
        array = self.tally.outputs()[feed.seat][feed.output]
        return array if rows.all() else array[rows]
