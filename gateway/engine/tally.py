"""What is known of one merge for one batch: which seats answered which rows, and which rows are closed.

A tally is pure bookkeeping without I/O or clock: the engine tells it what happened and when, and asks
what to do next. Nested merges are nested tallies; a closed row of a nested tally is an answer, or a
failure, of the seat above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.engine.plan import Merge, quorum_met
from gateway.engine.verdict import decide, worst
from gateway.strategies.base import Array, Mask, State, StrategyError
from protos.errors import Cause
from protos.tensor import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gateway.engine.plan import Reading
    from gateway.values import Answer, Failure

__all__ = ["Tally"]

_CAUSES = list(Cause)
_NUMBER = {cause: i for i, cause in enumerate(_CAUSES)}
_NONE, _USABLE = -1, -2


class Tally:
    """The state of one merge.

    Args:
        merge: The merge.
        n: Rows of the batch.
    """

    def __init__(self, merge: Merge, n: int) -> None:
        k = len(merge.seats)
        self.merge = merge
        self.n = n
        self.open = np.zeros(n, np.bool_)
        self.until = np.full(n, np.inf)
        self._latest = 0.0
        self.asked = np.zeros((k, n), np.bool_)
        self.answered = np.zeros((k, n), np.bool_)
        self.failed = np.zeros((k, n), np.bool_)
        self.causes = np.full((k, n), _NONE, np.int16)
        self.seat_until = np.full((k, n), np.inf)
        self.asked_at: list[float | None] = [None] * k
        self.elapsed_s: list[float | None] = [None] * k
        self.answers: list[Answer | None] = [None] * k
        self.attempts = [0] * k
        #: The upstream seats that a seat failed for, by seat, with the rows.
        self.blamed: dict[int, dict[str, Mask]] = {}
        self._outputs: list[dict[str, Array]] = [{} for _ in range(k)]
        #: Rows for which a nested merge left an output out, by seat and name.
        self._left_out: dict[tuple[int, str], Mask] = {}
        self.nested: dict[int, Tally] = {
            i: Tally(seat.source, n) for i, seat in enumerate(merge.seats) if isinstance(seat.source, Merge)
        }
        self._names = tuple(seat.name for seat in merge.seats)
        self._eligible = np.array([seat.chosen and seat.barred is None for seat in merge.seats], np.bool_)

    @classmethod
    def complete(
        cls, merge: Merge, n: int, answers: Sequence[tuple[Answer, float]], *, asked_at: float, batches: bool
    ) -> Tally | None:
        """Return the tally of a merge all of whose seats answered all rows, or None if one is not usable.

        Args:
            merge: A merge of calls.
            n: Rows of the batch.
            answers: Each seat's answer, and when it came.
            asked_at: When all were asked.
            batches: Whether answers have a row axis.
        """
        tally, screened = cls(merge, n), merge.nonfinite != "pass"
        for i, (seat, (answer, at)) in enumerate(zip(merge.seats, answers, strict=True)):
            arrays = _decoded(seat.readings, answer, n, batches=batches)
            if arrays is None or (screened and not all(map(_finite, arrays.values()))):
                return None
            tally._outputs[i] = arrays
            tally.answers[i], tally.attempts[i] = answer, answer.attempts
            tally.asked_at[i], tally.elapsed_s[i] = asked_at, at - asked_at
        tally.asked[:] = tally.answered[:] = True
        return tally

    def start(self, rows: Mask, until: float | NDArray[np.float64]) -> None:
        """Open rows: this merge is needed for them, and waits until the given time, or time for each row."""
        self.open |= rows
        self.until[rows] = until
        self._latest = max(self._latest, float(np.max(until, initial=0.0)))
        for i, seat in enumerate(self.merge.seats):
            if seat.chosen and seat.barred is not None:
                self._lose(i, rows, seat.barred)

    def state(self, now: float, rows: Mask | None = None) -> State:
        """Return what the strategy may see, of some rows or of all."""
        return State(
            n=self.n,
            seats=self._names,
            weights=self.merge.weights,
            asked=self.asked,
            answered=self.answered,
            failed=self.failed,
            eligible=self._eligible,
            outputs=self.outputs(rows),
            labels=self.merge.labels,
            time_left_s=max(0.0, self._latest - now),
        )

    def outputs(self, rows: Mask | None = None) -> Sequence[Mapping[str, Array]]:
        """Return each seat's outputs, without those that any of the rows lacks though the seat answered."""
        if not self._left_out:
            return self._outputs
        lacking = {key for key, out in self._left_out.items() if (out if rows is None else out & rows).any()}
        return [
            {name: array for name, array in held.items() if (seat, name) not in lacking}
            for seat, held in enumerate(self._outputs)
        ]

    def asks(self, now: float) -> list[tuple[int, Mask]]:
        """Let the strategy plan the next wave, enter it as asked, and return the seats and rows to ask.

        Rows whose time is over are not asked for any more.
        """
        wave: list[tuple[int, Mask]] = []
        if not self.open.any():
            return wave
        for ask in self.merge.strategy.plan(self.state(now)):
            rows = self.ask(ask.seat, ask.rows, now)
            if rows.any():
                wave.append((ask.seat, rows))
        return wave

    def ask(self, seat: int, rows: Mask, now: float) -> Mask:
        """Enter that a seat is asked for rows, and return those for which it was not before and can be."""
        rows = rows & self.open & (self.until > now) & ~self.asked[seat] & self._eligible[seat]
        if rows.any():
            self.asked[seat] |= rows
            timeout_s = self.merge.seats[seat].timeout_s
            until = self.until if timeout_s is None else np.minimum(self.until, now + timeout_s)
            self.seat_until[seat, rows] = until[rows]
            self.asked_at[seat] = now
            self.attempts[seat] += 1
        return rows

    def answer(self, seat: int, rows: Mask, answer: Answer, *, batches: bool, now: float) -> None:
        """Enter a model's answer for some rows, after screening it; for rows not asked it is of no use."""
        self._arrived(seat, answer.attempts, now)
        self.answers[seat] = answer
        arrays = _decoded(self.merge.seats[seat].readings, answer, int(rows.sum()), batches=batches)
        if arrays is None:
            self._lose(seat, rows & self.asked[seat], Cause.MEMBER_BAD_OUTPUT)
        else:
            self.enter(seat, rows, arrays)

    def enter(self, seat: int, rows: Mask, arrays: Mapping[str, Array]) -> None:
        """Enter arrays of ``rows.sum()`` rows, in canonical form, as the seat's answer."""
        held = self._outputs[seat]
        if any(name in held and held[name].shape[1:] != array.shape[1:] for name, array in arrays.items()):
            # its answer to an earlier wave has other open dimensions: the two fit no one array
            self._lose(seat, rows & self.asked[seat], Cause.MEMBER_BAD_OUTPUT)
            return
        usable = rows & self.waiting(seat)
        if self.merge.nonfinite != "pass":
            found = _nonfinite(arrays.values(), int(rows.sum()))
            if found.any():
                broken = np.zeros(self.n, np.bool_)
                broken[rows] = found
                self._lose(seat, broken & self.asked[seat], Cause.NONFINITE_OUTPUT)
                usable &= ~broken
        every = rows.all()
        for name, array in arrays.items():
            if every:
                held[name] = array
            else:
                dense = held.get(name)
                if dense is None:
                    dense = held[name] = np.zeros((self.n, *array.shape[1:]), array.dtype)
                dense[rows] = array
        self.answered[seat] |= usable

    def enter_merged(self, seat: int, rows: Mask, merged: Mapping[str, Array], now: float) -> None:
        """Enter what a nested merge yields for some rows.

        A part that it left out is left out here as well, if this merge can do that; else it is bad output.
        """
        self._arrived(seat, 1, now)
        arrays: dict[str, Array] = {}
        left_out: list[str] = []
        for reading in self.merge.seats[seat].readings:
            whole = merged.get(reading.source)
            if whole is None and self.merge.strategy.traits.partial:
                left_out.append(reading.spec.name)
                continue
            array = None if whole is None else _screened(reading, whole, int(rows.sum()))
            if array is None:
                self._lose(seat, rows, Cause.MEMBER_BAD_OUTPUT)
                return
            arrays[reading.spec.name] = array
        if left_out and not arrays:
            self._lose(seat, rows, Cause.MEMBER_BAD_OUTPUT)
            return
        for name in left_out:
            self._left_out.setdefault((seat, name), np.zeros(self.n, np.bool_))[rows] = True
        self.enter(seat, rows, arrays)

    def fail(self, seat: int, rows: Mask, failure: Failure, now: float) -> None:
        """Enter that the seat has no answer for these rows."""
        self._arrived(seat, failure.attempts, now)
        self._lose(seat, rows & self.asked[seat], failure.cause)

    def blame(self, seat: int, rows: Mask, upstream: str) -> None:
        """Enter for whom the seat has no answer for these rows: it was not asked."""
        self.blamed.setdefault(seat, {}).setdefault(upstream, np.zeros(self.n, np.bool_))[rows] = True

    def lacks(self, seat: int, output: str) -> Mask:
        """Return the rows for which one output of a seat will not come."""
        out = self._left_out.get((seat, output))
        failed: Mask = self.failed[seat]
        return failed if out is None else failed | out

    def expire(self, now: float) -> bool:
        """Give up on every seat whose own time is over, and tell whether there was one.

        A nested merge ends by its own ``until``.
        """
        late = self._pending() & (self.seat_until <= now)
        expired = bool(late.any())
        for seat in np.flatnonzero(late.any(axis=1)).tolist() if expired else ():
            if seat not in self.nested:
                self._lose(seat, late[seat], Cause.MEMBER_TIMEOUT)
        for nested in self.nested.values():
            expired |= nested.expire(now)
        return expired

    def closable(self, now: float) -> Mask:
        """Return the open rows for which waiting has ended.

        It ends when every asked seat is in, when the strategy says settled and enough is there, or at the
        end of time.
        """
        done = ~self._pending().any(axis=0) | (self.until <= now)
        if self.merge.strategy.settles_early and not done[self.open].all():
            done |= self.merge.strategy.settled(self.state(now)).done & self._enough()
        return self.open & done

    def shut(self, rows: Mask) -> None:
        """Close rows for good, here and below: later answers for them are ignored."""
        self.open &= ~rows
        for nested in self.nested.values():
            nested.shut(rows)

    def parts(self, rows: Mask) -> list[Mask]:
        """Return rows in groups that can be merged without one row's losses showing in another's answer."""
        if not self.merge.strategy.traits.partial:
            return [rows]
        fares = np.vstack([self.answered, *self._left_out.values()])[:, rows]
        _, which = np.unique(fares, axis=1, return_inverse=True)
        group = np.full(self.n, -1)
        group[rows] = which.reshape(-1)
        return [group == i for i in range(group.max() + 1)]

    def merged(self, rows: Mask, now: float) -> dict[str, Array]:
        """Let the strategy merge the answers of some rows, at least one of them.

        Raises:
            StrategyError: If it returns another number of rows, which would mix up the riders.
            Exception: Whatever a plug-in raises.
        """
        merged = self.merge.strategy.combine(self.state(now, rows), rows)
        for name, array in merged.items():
            if len(array) != rows.sum():
                raise StrategyError(f"output {name!r} has {len(array)} rows, not {rows.sum()}")
        return merged

    def verdicts(self, rows: Mask) -> dict[Cause, Mask]:
        """Return the rows that cannot be answered, by the cause that decides."""
        lacking = rows & ~self._enough()
        if self.merge.nonfinite == "fail":
            lacking |= rows & (self.causes == _NUMBER[Cause.NONFINITE_OUTPUT]).any(axis=0)
        verdicts: dict[Cause, Mask] = {}
        if lacking.any():
            codes = np.where(self.answered, _USABLE, self.causes)[:, lacking]
            patterns, which = np.unique(codes, axis=1, return_inverse=True)
            for i, pattern in enumerate(patterns.T):
                causes = [_CAUSES[c] if c >= 0 else None for c in pattern]
                cause = decide(self.merge, [c == _USABLE for c in pattern], causes)
                if cause is not None:
                    mask = verdicts.setdefault(cause, np.zeros(self.n, np.bool_))
                    mask[np.flatnonzero(lacking)[which.reshape(-1) == i]] = True
        return verdicts

    def _enough(self) -> Mask:
        enough = quorum_met(self.merge, self.answered)
        for i, seat in enumerate(self.merge.seats):
            if seat.required and seat.chosen:
                enough &= self.answered[i]
        return enough

    def cause(self, seat: int, rows: slice | Mask) -> Cause | None:
        """Return why a seat is missing from at least one of the rows; the worst of several causes."""
        if not self.failed[seat, rows].any():
            return None
        codes = np.unique(self.causes[seat, rows])
        return worst(_CAUSES[code] for code in codes if code != _NONE)

    def causes_of(self, seat: int, output: str, rows: Mask) -> Iterator[tuple[Cause, Mask]]:
        """Yield why an output of a seat will not come for rows, with the rows of each cause.

        A part that a nested merge left out is missing for the cause of the seat below that owes it.
        """
        for code in np.unique(self.causes[seat, rows]):
            alike = rows & (self.causes[seat] == code)
            if code == _NONE:
                yield from self._causes_below(seat, output, alike)
            else:
                yield _CAUSES[code], alike

    def _causes_below(self, seat: int, output: str, rows: Mask) -> Iterator[tuple[Cause, Mask]]:
        nested = self.nested.get(seat)
        source = {reading.spec.name: reading.source for reading in self.merge.seats[seat].readings}.get(
            output
        )
        if nested is not None and source is not None:
            for i, below in enumerate(nested.merge.seats):
                owed = nested.merge.strategy.needs(below.spec(), frozenset((source,)))
                for name in (r.spec.name for r in below.readings if r.spec.name in owed):
                    yield from nested.causes_of(i, name, rows)
                    return
        yield Cause.QUORUM_NOT_MET, rows

    def next_timer(self) -> float:
        """Return when something ends by itself: the merge, a seat, or something nested."""
        seats = self.seat_until[self._pending() & self.open].min(initial=np.inf)
        merge = self.until[self.open].min(initial=np.inf)
        return min(float(seats), float(merge), *(tally.next_timer() for tally in self.nested.values()))

    def needs(self, seat: int, rows: Mask) -> bool:
        """Tell whether an answer of this seat for these rows is still of use."""
        return bool((self.waiting(seat) & rows & self.open).any())

    def awaited(self, seat: int, rows: Mask) -> bool:
        """Tell whether a call that was made for it should go on."""
        return self.needs(seat, rows)

    def waiting(self, seat: int) -> Mask:
        """Return the rows for which a seat was asked and nothing came yet."""
        return np.asarray(self.asked[seat] & ~self.answered[seat] & ~self.failed[seat])

    def _pending(self) -> Mask:
        pending: Mask = self.asked & ~self.answered & ~self.failed
        return pending

    def _arrived(self, seat: int, attempts: int, now: float) -> None:
        self.attempts[seat] += attempts - 1
        asked_at = self.asked_at[seat]
        self.elapsed_s[seat] = None if asked_at is None else now - asked_at

    def _lose(self, seat: int, rows: Mask, cause: Cause) -> None:
        lost = rows & ~self.answered[seat] & ~self.failed[seat]
        self.failed[seat] |= lost
        self.causes[seat, lost] = _NUMBER[cause]


def _decoded(
    readings: Sequence[Reading], answer: Answer, rows: int, *, batches: bool
) -> dict[str, Array] | None:
    """Return what is read of a model's answer in canonical form, or None if it is not as declared."""
    arrays: dict[str, Array] = {}
    for reading in readings:
        tensor = answer.outputs.get(reading.source)
        if tensor is None or tensor.datatype != reading.spec.datatype:
            return None
        whole: Array = tensor.array()
        array = _screened(reading, whole if batches else whole[None], rows)
        if array is None:
            return None
        arrays[reading.spec.name] = array
    return arrays


def _screened(reading: Reading, array: Array, rows: int) -> Array | None:
    """Return one output in canonical form, or None if its datatype or shape is not as declared."""
    spec = reading.spec
    if array.dtype != DTYPES[spec.datatype] or not spec.accepts(array.shape) or len(array) != rows:
        return None
    return array if reading.order is None else array[..., reading.order]


def _finite(array: Array) -> bool:
    # ml_dtypes' floats are of kind V; numpy's of kind f
    return array.dtype.kind not in "fV" or bool(np.isfinite(array).all())


def _nonfinite(arrays: Iterable[Array], rows: int) -> Mask:
    """Return the rows in which any array has a value that is not finite."""
    broken = np.zeros(rows, np.bool_)
    for array in arrays:
        if not _finite(array):
            broken |= ~np.isfinite(array).reshape(rows, -1).all(axis=1)
    return broken
